//! The build of this crate looks for libvirt's C library, and where it is missing it ends with the name of the package
//! that brings it. The crate itself is empty.
//!
//! It is a build dependency of `substrate-libvirt` and of nothing else. Why not a few lines in that crate's own build
//! script: the binding under it, `virt-sys`, looks as well, earlier, and tells of a missing `libvirt.pc` only. Cargo
//! runs that first for which most other parts of the build wait, and for this crate wait more than for the binding: the
//! build script of `substrate-libvirt`, and then all that waits for the binding too. So it is always this crate that
//! speaks first, however few or many jobs run at once.
