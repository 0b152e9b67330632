"""From somebody's own pruned ResNet, in plain torch, to measures and a picture.

python examples/pruned_resnet.py
"""

import torch
from torch import nn
from torch.nn.utils import prune


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, width: int = 8, classes: int = 10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = Block(width, width, 1)
        self.layer2 = Block(width, 2 * width, 2)
        self.layer3 = Block(2 * width, 4 * width, 2)
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


torch.manual_seed(0)
model = ResNet()  # trained, one hopes
for layer in model.modules():
    if isinstance(layer, nn.Conv2d | nn.Linear):
        prune.l1_unstructured(layer, "weight", amount=0.95)

# The ten lines:
import rewire  # noqa: E402
from rewire.measures import measure  # noqa: E402
from rewire.pictures import network  # noqa: E402

graph = rewire.Graph.of(model, example=torch.zeros(1, 3, 32, 32))
measures = ["LayerDensity", "EdgesOnPath", "PathLength", "RobinsAlexander"]
table = measure(graph, measures, null="counts", draws=10, seed=0)
print(table)
table.to_csv("resnet.csv")
network(graph).savefig("resnet.png", dpi=150)
