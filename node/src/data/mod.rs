//! Image data in and out: the upload pipeline and the download stream.
