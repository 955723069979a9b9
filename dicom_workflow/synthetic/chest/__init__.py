"""Chest phantoms: a seeded anatomy, conditions planted into it, and the radiograph a detector would make of it.

::

    chest, regions = compose_with(Anatomy(), {"Cardiomegaly"}, 512, seed=1)
    image = expose(chest)  # (512, 512) float32 in [0, 1], 0 black
"""

from dicom_workflow.synthetic.chest.anatomy import compose
from dicom_workflow.synthetic.chest.conditions import AFFINITY, choose, compose_with
from dicom_workflow.synthetic.chest.radiograph import expose
from dicom_workflow.synthetic.chest.thickness import FIELD_CM, Anatomy, Chest, RibBreak

__all__ = ["AFFINITY", "FIELD_CM", "Anatomy", "Chest", "RibBreak", "choose", "compose", "compose_with", "expose"]
