"""The AWS home: CloudFormation stacks deployed, looked after and removed by their own command line.

A *deployment* has a name; its stacks are ``NAME-foundation``, ``NAME-network`` and so on (`catalog.STACKS`), each made of the
template of that name in ``cfn/``. An output of one stack and a parameter of the same name of a later one are the same thing,
and are handed on here. Nothing is kept on this machine: what stands is asked of CloudFormation each time.
"""
