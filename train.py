import sys

from metagenrl.__main__ import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
