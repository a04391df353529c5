"""``python -m samis VERB ...`` is the ``samis`` command; ``accelerate launch -m samis train CONFIG`` runs it on several GPUs."""

from samis.cli import main

if __name__ == "__main__":
    main()
