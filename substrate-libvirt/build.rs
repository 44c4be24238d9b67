//! Does nothing, and has to wait for what looks for the C library: see `substrate-libvirt-library`.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
}
