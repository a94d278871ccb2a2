"""MetaGenRL, distributed: meta-learn a reinforcement-learning objective with a population."""

from pkgutil import extend_path

# From a checkout's root this folder hides an ordinary installation of the other packages.
__path__ = extend_path(__path__, __name__)
