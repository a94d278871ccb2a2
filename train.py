import sys

if not sys.flags.safe_path:  # a torch.py beside this file would hide the package
    sys.path.append(sys.path.pop(0))

from metagenrl.__main__ import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
