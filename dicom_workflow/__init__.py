"""From a PACS to a trained, explainable classifier, in notebooks.

Importing the package imports none of its modules, so that a Lambda function or a command loads only what it uses.
"""

__version__ = "0.1.0"
