"""One module for each verb of the ``samis`` command: its arguments and examples, and the call of its job."""
