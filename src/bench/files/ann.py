"""Makes ann.hdf5, the file that hdf5.rs reads in its tests: python3 ann.py (needs h5py)."""

import h5py
import numpy as np


def rows(count):
    return (np.arange(count)[:, None] + np.arange(4)[None, :] / 4).astype(np.float32)


with h5py.File("ann.hdf5", "w") as file:
    file.attrs["distance"] = "angular"
    file.create_dataset("train", data=rows(60))
    file.create_dataset("test", data=rows(5), chunks=(2, 4), compression="gzip")
    neighbors = np.arange(15, dtype=np.int32).reshape(5, 3)
    file.create_dataset("neighbors", data=neighbors, chunks=(2, 2), compression="gzip", shuffle=True)
