import sys

from metagenrl.commands.main import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
