# Before timm: see `iavit._torchvision`.
from iavit import _torchvision as _torchvision
