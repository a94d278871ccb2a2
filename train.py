import sys

from metagenrl.cluster.main import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
