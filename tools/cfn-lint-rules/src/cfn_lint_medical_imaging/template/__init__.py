"""Read CloudFormation templates: resolved property values, policy statements and inline Lambda code."""
