"""Weight files of networks that the metrics use and that are not trained here."""

from nonnormal.data.download import File

# Converted by torch-fidelity from TensorFlow's Inception of 2015-12-05. Of its SHA-256 the digits in its name are
# published, no more: other files have the same, so that what comes from a mirror is not trusted to hold tensors alone.
INCEPTION = File(
    "weights-inception-2015-12-05-6726825d.pth",
    sha256="6726825d",
    urls=(
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    ),
    key="features.source",
)
