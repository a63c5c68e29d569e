from iavit import _torchvision as _torchvision
