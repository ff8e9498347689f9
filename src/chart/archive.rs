//! Unpacks charts: gzip around tar. What comes from outside is bounded, and holds plain files only.

use std::collections::BTreeMap;
use std::io::Read as _;

use flate2::read::MultiGzDecoder;

/// How many bytes a packed chart may have. The largest public ones have a tenth of it.
const PACKED_MAX: usize = 20 << 20;
/// How many bytes a chart may come to, all charts packed in it included: Helm's own bound.
const UNPACKED_MAX: usize = 100 << 20;
/// How many files a chart may come to, all charts packed in it included.
const FILES_MAX: usize = 20_000;
/// How many bytes the path of a file may have.
const PATH_MAX: usize = 512;
/// The unit of tar: a header takes one, contents take whole ones.
const BLOCK: usize = 512;

/// How much may still be unpacked. A chart and the charts packed in it share it.
pub(crate) struct Allowance {
    bytes: usize,
    files: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { bytes: UNPACKED_MAX, files: FILES_MAX }
    }
}

/// Unpacks an archive. The first folder of each path is left out: it is the chart's own, whatever its name.
pub(crate) fn unpack(packed: &[u8], allowance: &mut Allowance) -> Result<BTreeMap<String, Vec<u8>>, String> {
    if packed.len() > PACKED_MAX {
        return Err(format!("the archive has more than {PACKED_MAX} bytes"));
    }
    let mut bytes = Vec::new();
    let bound = allowance.bytes as u64 + 1;
    MultiGzDecoder::new(packed)
        .take(bound)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("the archive cannot be unpacked: {error}"))?;
    let too_large = || format!("the archive comes to more than {UNPACKED_MAX} bytes or {FILES_MAX} files");
    allowance.bytes = allowance.bytes.checked_sub(bytes.len()).ok_or_else(too_large)?;
    let mut files = BTreeMap::new();
    for entry in Entries::new(&bytes) {
        let (name, contents) = entry?;
        allowance.files = allowance.files.checked_sub(1).ok_or_else(too_large)?;
        let path = path_in_chart(&name)?;
        if files.insert(path, contents.to_vec()).is_some() {
            return Err(format!("the archive holds `{name}` twice"));
        }
    }
    if files.is_empty() { Err("the archive holds no files".to_owned()) } else { Ok(files) }
}

/// The path of an entry below its first folder.
fn path_in_chart(name: &str) -> Result<String, String> {
    if name.len() > PATH_MAX {
        return Err(format!("the archive holds a path of more than {PATH_MAX} bytes"));
    }
    // An archive from Windows may have backslashes.
    let name = if name.contains('\\') { name.replace('\\', "/") } else { name.to_owned() };
    let Some((_, path)) = name.split_once('/') else {
        return Err(format!("the archive holds `{name}` outside the chart's folder"));
    };
    let is_drive = path.as_bytes().get(1) == Some(&b':');
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if name.starts_with('/') || path.starts_with('/') || is_drive || parts.is_empty() || parts.contains(&"..")
    {
        return Err(format!("the archive holds the path `{name}`, which leads out of the chart"));
    }
    if name.contains('\0') {
        return Err("the archive holds a path with a zero byte".to_owned());
    }
    Ok(parts.join("/"))
}

/// The plain files of a tar archive.
struct Entries<'a> {
    rest: &'a [u8],
    /// A long name that an entry of its own gives to the next one.
    name: Option<String>,
    failed: bool,
}

impl<'a> Entries<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, name: None, failed: false }
    }

    fn entry(&mut self) -> Result<Option<(String, &'a [u8])>, String> {
        loop {
            let Some((header, rest)) = self.rest.split_at_checked(BLOCK) else {
                return if self.rest.is_empty() {
                    Ok(None)
                } else {
                    Err("the archive is cut off".to_owned())
                };
            };
            if header.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            let header = Header::read(header)?;
            let padded = header.size.checked_next_multiple_of(BLOCK).filter(|padded| *padded <= rest.len());
            let padded = padded.ok_or("the archive is cut off")?;
            let contents = &rest[..header.size];
            self.rest = &rest[padded..];
            let name = self.name.take();
            match header.kind {
                b'L' => self.name = Some(text(contents)?),
                b'x' => self.name = pax_path(contents)?.or(name),
                // Notes on all entries, long targets of links, folders.
                b'g' | b'K' | b'5' => {}
                b'0' | b'7' | 0 => {
                    let name = name.unwrap_or(header.name);
                    // How old archives write a folder.
                    if !name.ends_with('/') {
                        return Ok(Some((name, contents)));
                    }
                }
                _ => {
                    let name = name.unwrap_or(header.name);
                    return Err(format!("the archive holds `{name}`, which is no plain file"));
                }
            }
        }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(String, &'a [u8]), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let entry = self.entry();
        self.failed = entry.is_err();
        entry.transpose()
    }
}

struct Header {
    name: String,
    size: usize,
    kind: u8,
}

impl Header {
    fn read(block: &[u8]) -> Result<Self, String> {
        // The checksum is over the header with spaces in the checksum's own place.
        let sum =
            |range: std::ops::Range<usize>| block[range].iter().map(|byte| u64::from(*byte)).sum::<u64>();
        if octal(&block[148..156]) != Some(sum(0..148) + 8 * u64::from(b' ') + sum(156..BLOCK)) {
            return Err("the archive is damaged: a checksum is wrong".to_owned());
        }
        let size = octal(&block[124..136]).and_then(|size| usize::try_from(size).ok());
        let mut name = text(&block[..100])?;
        let prefix = text(&block[345..500])?;
        if &block[257..263] == b"ustar\0" && !prefix.is_empty() {
            name = format!("{prefix}/{name}");
        }
        Ok(Self {
            name,
            size: size.ok_or("the archive holds a file of a size that cannot be")?,
            kind: block[156],
        })
    }
}

/// Reads a number in octal digits.
fn octal(field: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

/// Reads a text up to its zero byte.
fn text(field: &[u8]) -> Result<String, String> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let text = std::str::from_utf8(&field[..end]);
    text.map(ToOwned::to_owned).map_err(|_| "the archive holds a path that is not UTF-8".to_owned())
}

/// Finds the path among the records `<length> <key>=<value>\n` of an extended header.
fn pax_path(mut records: &[u8]) -> Result<Option<String>, String> {
    let damaged = || "the archive is damaged: an extended header cannot be read".to_owned();
    let mut path = None;
    while !records.is_empty() {
        let space = records.iter().position(|byte| *byte == b' ').ok_or_else(damaged)?;
        let length =
            std::str::from_utf8(&records[..space]).ok().and_then(|digits| digits.parse::<usize>().ok());
        let length =
            length.filter(|length| (space + 1..=records.len()).contains(length)).ok_or_else(damaged)?;
        let record = records[space + 1..length].strip_suffix(b"\n").ok_or_else(damaged)?;
        if let Some(value) = record.strip_prefix(b"path=") {
            path = Some(text(value)?);
        }
        if record.starts_with(b"size=") {
            return Err("the archive holds a file of a size that cannot be".to_owned());
        }
        records = &records[length..];
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// An entry: its name, its kind, its contents.
    type Entry<'a> = (&'a str, u8, &'a [u8]);

    fn header(name: &str, kind: u8, size: usize) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[148..156].fill(b' ');
        block[156] = kind;
        block[257..263].copy_from_slice(b"ustar\0");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        block[154] = 0;
        block
    }

    fn packed(tar: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(tar).unwrap();
        encoder.finish().unwrap()
    }

    fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
        let mut tar = Vec::new();
        for (name, kind, contents) in entries {
            tar.extend(header(name, *kind, contents.len()));
            tar.extend(*contents);
            tar.resize(tar.len().next_multiple_of(BLOCK), 0);
        }
        tar.resize(tar.len() + 2 * BLOCK, 0);
        packed(&tar)
    }

    fn names(entries: &[Entry<'_>]) -> Result<Vec<String>, String> {
        unpack(&archive(entries), &mut Allowance::default()).map(|files| files.into_keys().collect())
    }

    #[test]
    fn files_are_known_by_their_path_below_the_first_folder() {
        let long = format!("c/templates/{}.yaml", "x".repeat(150));
        let record = format!("{} path={long}\n", long.len() + 10);
        let entries = [
            ("c/", b'5', b"".as_slice()),
            ("c/Chart.yaml", b'0', b"name: c\n"),
            ("pax", b'g', b"19 comment=nothing\n"),
            ("c/templates//./a.yaml", 0, b""),
            ("pax", b'x', record.as_bytes()),
            ("c/templates/x", b'0', b"1"),
            ("././@LongLink", b'L', b"c/files/from-gnu\0"),
            ("c/files/f", b'0', &[7; 1000]),
            ("c\\files\\windows", b'0', b""),
        ];
        let files = unpack(&archive(&entries), &mut Allowance::default()).unwrap();
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        let long = long.strip_prefix("c/").unwrap();
        assert_eq!(names, ["Chart.yaml", "files/from-gnu", "files/windows", "templates/a.yaml", long]);
        assert_eq!(files["files/from-gnu"], [7; 1000]);
    }

    #[test]
    fn what_is_no_plain_file_of_the_chart_is_refused() {
        for (entries, message) in [
            (vec![], "the archive holds no files"),
            (vec![("c/a", b'2', b"".as_slice())], "the archive holds `c/a`, which is no plain file"),
            (vec![("c/a", b'1', b"")], "the archive holds `c/a`, which is no plain file"),
            (vec![("c/a", b'3', b"")], "the archive holds `c/a`, which is no plain file"),
            (vec![("Chart.yaml", b'0', b"")], "the archive holds `Chart.yaml` outside the chart's folder"),
            (vec![("c/a", b'0', b""), ("d/a", b'0', b"")], "the archive holds `d/a` twice"),
        ] {
            assert_eq!(names(&entries).unwrap_err(), message);
        }
        for path in
            ["c/../a", "c/b/../../../a", "/etc/passwd", "c//etc/passwd", "c/C:/a", "c\\..\\a", "c/.", "c/"]
        {
            let refusal = names(&[(path, b'0', b"x")]);
            assert!(refusal.is_err(), "{path} is taken as {refusal:?}");
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_unpacked() {
        let zeros = vec![0; 1 << 20];
        let mut allowance = Allowance { bytes: 3 << 20, files: 2 };
        let megabyte = archive(&[("c/a", b'0', &zeros)]);
        unpack(&megabyte, &mut allowance).unwrap();
        unpack(&megabyte, &mut allowance).unwrap();
        // What an archive may come to is counted over all of a chart's.
        assert!(unpack(&megabyte, &mut allowance).unwrap_err().contains("comes to more than"));
        let many = archive(&[("c/a", b'0', b""), ("c/b", b'0', b""), ("c/d", b'0', b"")]);
        let mut allowance = Allowance { bytes: 1 << 20, files: 2 };
        assert!(unpack(&many, &mut allowance).unwrap_err().contains("comes to more than"));
        let long = format!("{}a", "c/".repeat(PATH_MAX));
        let long = names(&[("././@LongLink", b'L', long.as_bytes()), ("c/a", b'0', b"")]);
        assert!(long.unwrap_err().contains("a path of more than"));
        assert!(
            unpack(&vec![0; PACKED_MAX + 1], &mut Allowance::default())
                .unwrap_err()
                .contains("has more than")
        );
    }

    #[test]
    fn a_damaged_archive_is_refused() {
        let good = archive(&[("c/a", b'0', b"text")]);
        let refusal = |bytes: &[u8]| unpack(bytes, &mut Allowance::default()).unwrap_err();
        assert!(refusal(&good[..good.len() / 2]).contains("cannot be unpacked"));
        assert!(refusal(b"no gzip").contains("cannot be unpacked"));
        let mut broken = header("c/a", b'0', 4);
        broken[0] = b'd';
        assert!(refusal(&packed(&broken)).contains("a checksum is wrong"));
        assert_eq!(refusal(&packed(&header("c/a", b'0', 4))), "the archive is cut off");
        assert_eq!(refusal(&packed(b"short")), "the archive is cut off");
    }
}
