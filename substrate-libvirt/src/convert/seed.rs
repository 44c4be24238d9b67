//! The disk from which cloud-init reads what a machine is to become: a FAT file system called `CIDATA`, as its data
//! source NoCloud has it. Small enough to be a floppy disk, and written as one.

use substrate_core::{Error, Result};

const SECTOR: usize = 512;
const SECTORS: usize = 2880;
const FATS: usize = 2;
const SECTORS_PER_FAT: usize = 9;
const ROOT_ENTRIES: usize = 224;
const ENTRY: usize = 32;
const FIRST_FAT: usize = SECTOR;
const ROOT: usize = FIRST_FAT + FATS * SECTORS_PER_FAT * SECTOR;
const DATA: usize = ROOT + ROOT_ENTRIES * ENTRY;
/// The last cluster of a file.
const END: u16 = 0xfff;
const LABEL: &[u8; 11] = b"CIDATA     ";
/// How many characters of a long name one entry holds, and where.
const PER_LONG_ENTRY: usize = 13;
const LONG_PLACES: [usize; PER_LONG_ENTRY] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// The disk with these files. Their names are long ones, in ASCII.
///
/// # Errors
/// `InvalidInput` when they do not fit.
pub(crate) fn image(files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut disk = Disk { bytes: vec![0; SECTORS * SECTOR], next_cluster: 2, next_entry: 0 };
    disk.boot_sector();
    for fat in 0..FATS {
        disk.put(FIRST_FAT + fat * SECTORS_PER_FAT * SECTOR, &[0xf0, 0xff, 0xff]);
    }
    disk.entry(LABEL, 0x08, 0, 0);
    for (number, (name, content)) in files.iter().enumerate() {
        disk.file(number, name, content)?;
    }
    Ok(disk.bytes)
}

struct Disk {
    bytes: Vec<u8>,
    next_cluster: u16,
    next_entry: usize,
}

impl Disk {
    fn put(&mut self, offset: usize, data: &[u8]) {
        if let Some(place) = self.bytes.get_mut(offset..offset + data.len()) {
            place.copy_from_slice(data);
        }
    }

    fn boot_sector(&mut self) {
        let number = |value: usize| u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes();
        self.put(0, &[0xeb, 0x3c, 0x90]);
        self.put(3, b"SUBSTRAT");
        self.put(11, &number(SECTOR));
        // One sector per cluster, one sector before the first table.
        self.put(13, &[1, 1, 0, 2]);
        self.put(17, &number(ROOT_ENTRIES));
        self.put(19, &number(SECTORS));
        self.put(21, &[0xf0]);
        self.put(22, &number(SECTORS_PER_FAT));
        // Eighteen sectors per track and two heads, as a floppy disk has.
        self.put(24, &[18, 0, 2, 0]);
        self.put(38, &[0x29, 1, 2, 3, 4]);
        self.put(43, LABEL);
        self.put(54, b"FAT12   ");
        self.put(510, &[0x55, 0xaa]);
    }

    fn entry(&mut self, name: &[u8; 11], attributes: u8, cluster: u16, length: u32) {
        let offset = ROOT + self.next_entry * ENTRY;
        self.next_entry += 1;
        self.put(offset, name);
        self.put(offset + 11, &[attributes]);
        self.put(offset + 26, &cluster.to_le_bytes());
        self.put(offset + 28, &length.to_le_bytes());
    }

    fn file(&mut self, number: usize, name: &str, content: &[u8]) -> Result<()> {
        let clusters = content.len().div_ceil(SECTOR);
        let first = self.next_cluster;
        let room = SECTORS - DATA / SECTOR + 2 - usize::from(first);
        if clusters > room {
            return Err(Error::invalid_input(
                "cloud-init's data is longer than the 1.4 MB that its disk holds",
            ));
        }
        for (index, piece) in content.chunks(SECTOR).enumerate() {
            let cluster = self.next_cluster;
            self.next_cluster += 1;
            self.put(DATA + (usize::from(cluster) - 2) * SECTOR, piece);
            self.link(cluster, if index + 1 == clusters { END } else { cluster + 1 });
        }
        let short = short_name(number);
        self.long_name(name, checksum(&short));
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
        self.entry(&short, 0x20, if clusters == 0 { 0 } else { first }, length);
        Ok(())
    }

    /// Notes in both tables what follows a cluster. Two numbers of twelve bits share three bytes.
    fn link(&mut self, cluster: u16, next: u16) {
        let [low, high] = next.to_le_bytes();
        for fat in 0..FATS {
            let offset = FIRST_FAT + fat * SECTORS_PER_FAT * SECTOR + usize::from(cluster) * 3 / 2;
            let Some([first, second]) = self.bytes.get_mut(offset..offset + 2) else { continue };
            if cluster.is_multiple_of(2) {
                *first = low;
                *second = (*second & 0xf0) | high;
            } else {
                *first = (*first & 0x0f) | (low << 4);
                *second = (low >> 4) | (high << 4);
            }
        }
    }

    /// The entries of a long name stand before the file's own, the last piece first.
    fn long_name(&mut self, name: &str, checksum: u8) {
        let units: Vec<u16> = name.encode_utf16().collect();
        let pieces: Vec<&[u16]> = units.chunks(PER_LONG_ENTRY).collect();
        for (index, piece) in pieces.iter().enumerate().rev() {
            let mut entry = [0xff_u8; ENTRY];
            let last = if index + 1 == pieces.len() { 0x40 } else { 0 };
            let order = u8::try_from(index + 1).unwrap_or(u8::MAX) | last;
            for (place, offset) in LONG_PLACES.iter().enumerate() {
                let unit = match piece.get(place) {
                    Some(unit) => *unit,
                    // The end of the name is marked, what follows it is not.
                    None if place == piece.len() => 0,
                    None => u16::MAX,
                };
                if let Some(to) = entry.get_mut(*offset..offset + 2) {
                    to.copy_from_slice(&unit.to_le_bytes());
                }
            }
            for (offset, value) in [(0, order), (11, 0x0f), (12, 0), (13, checksum), (26, 0), (27, 0)] {
                if let Some(to) = entry.get_mut(offset) {
                    *to = value;
                }
            }
            self.put(ROOT + self.next_entry * ENTRY, &entry);
            self.next_entry += 1;
        }
    }
}

/// What systems without long names would see.
fn short_name(number: usize) -> [u8; 11] {
    let mut name = *b"SEED~0     ";
    if let Some(digit) = name.get_mut(5) {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
    }
    name
}

fn checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows a file through the table, as a reader does.
    fn read(disk: &[u8], first: usize, length: usize) -> Vec<u8> {
        let (mut content, mut cluster) = (Vec::new(), first);
        while (2..0xff8).contains(&cluster) {
            let start = DATA + (cluster - 2) * SECTOR;
            content.extend_from_slice(&disk[start..start + SECTOR]);
            let offset = FIRST_FAT + cluster * 3 / 2;
            let pair = usize::from(u16::from_le_bytes([disk[offset], disk[offset + 1]]));
            cluster = if cluster.is_multiple_of(2) { pair & 0xfff } else { pair >> 4 };
        }
        content.truncate(length);
        content
    }

    #[test]
    fn files_of_any_length_come_back() {
        let long: Vec<u8> = (0..10_000_u32).map(|number| number as u8).collect();
        let files: [(&str, &[u8]); 3] =
            [("user-data", &long), ("meta-data", b"x"), ("network-config", &long[..SECTOR])];
        let disk = image(&files).unwrap();
        assert_eq!(disk.len(), SECTORS * SECTOR);
        let entries: Vec<&[u8]> = disk[ROOT..DATA].chunks(ENTRY).filter(|entry| entry[11] == 0x20).collect();
        assert_eq!(entries.len(), 3);
        for (entry, (_, content)) in entries.iter().zip(files) {
            let first = usize::from(u16::from_le_bytes([entry[26], entry[27]]));
            assert_eq!(read(&disk, first, content.len()), content);
        }
    }

    #[test]
    fn the_label_and_long_names_are_where_readers_look() {
        let disk = image(&[("network-config", b"")]).unwrap();
        assert_eq!(&disk[ROOT..ROOT + 12], b"CIDATA     \x08");
        assert_eq!(&disk[43..54], LABEL);
        // Fourteen characters need two entries; the second piece comes first, marked as the last.
        assert_eq!((disk[ROOT + ENTRY], disk[ROOT + 2 * ENTRY]), (0x42, 0x01));
        assert_eq!(disk[ROOT + 2 * ENTRY + 1], b'n');
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(image(&[("user-data", &vec![b'x'; 2 << 20])]).unwrap_err().is_invalid_input());
        assert!(image(&[("user-data", &vec![b'x'; 1 << 20])]).is_ok());
    }
}
