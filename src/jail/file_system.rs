//! Where a folder's files really are: on this machine, or on another one across a network, where
//! locks and shared memory do not do what a database needs of them.

use std::path::Path;

/// The name of the network file system that a folder is on; nothing where it is on this machine, or
/// where that cannot be told.
#[must_use]
pub fn network_file_system(folder: &Path) -> Option<&'static str> {
    let folder = folder.canonicalize().ok()?;
    let magic = magic(&folder)?;
    if magic != FUSE {
        return by_magic(magic);
    }
    // A program serves it. Which one is only in the list of mounts.
    by_program(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, folder.to_str()?)
}

#[cfg(target_os = "linux")]
fn magic(folder: &Path) -> Option<u32> {
    // The numbers are of 32 bits; what holds them has a sign on some machines, and is wider on others.
    Some(u64::try_from(rustix::fs::statfs(folder).ok()?.f_type).ok()? as u32)
}

#[cfg(not(target_os = "linux"))]
fn magic(_folder: &Path) -> Option<u32> {
    None
}

const FUSE: u32 = 0x6573_5546;

/// Numbers of statfs(2) and of the kernel's `include/uapi/linux/magic.h`.
fn by_magic(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517b => "SMB",
        0xfe53_4d42 => "SMB2",
        0xff53_4d42 => "CIFS",
        0x564c => "NCP",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x0102_1997 => "9P",
        0x00c3_6400 => "Ceph",
        0x0bd0_0bd3 => "Lustre",
        0x4750_4653 => "GPFS",
        _ => return None,
    })
}

/// Programs that serve files of other machines. Others (a container's overlay, NTFS, encryption)
/// serve this machine's, and their locks hold.
const PROGRAMS: &[&str] = &[
    "sshfs",
    "rclone",
    "s3fs",
    "goofys",
    "mountpoint-s3",
    "gcsfuse",
    "blobfuse",
    "blobfuse2",
    "glusterfs",
    "ceph-fuse",
    "davfs",
    "curlftpfs",
    "smbnetfs",
    "juicefs",
    "seaweedfs",
];

/// Looks the mount that a path is on up in `mountinfo` (proc_pid_mountinfo(5)): the longest mount
/// point that the path begins with, of two equal ones the later.
fn by_program(mounts: &str, path: &str) -> Option<&'static str> {
    let mount = |line: &str| {
        let (place, what) = line.split_once(" - ")?;
        // Spaces in it are written as octal numbers.
        let point = place.split(' ').nth(4)?.replace("\\040", " ");
        Path::new(path).starts_with(&point).then(|| (point.len(), what.to_owned()))
    };
    let (_, what) = mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length)?;
    let mut words = what.split(' ');
    let (kind, source) = (words.next()?, words.next().unwrap_or_default());
    let program = kind.strip_prefix("fuse.").unwrap_or(source);
    PROGRAMS.iter().find(|known| **known == program).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_this_machine_is_on_no_network() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(network_file_system(folder.path()), None);
        assert_eq!(network_file_system(&folder.path().join("missing")), None);
        assert!(cfg!(not(target_os = "linux")) || magic(folder.path()).is_some());
    }

    #[test]
    fn network_file_systems_are_known_by_number_and_by_program() {
        assert_eq!(by_magic(0x6969), Some("NFS"));
        assert_eq!(by_magic(0xff53_4d42), Some("CIFS"));
        // ext4, tmpfs, overlay.
        for local in [0xef53, 0x0102_1994, 0x794c_7630] {
            assert_eq!(by_magic(local), None);
        }
        let mounts = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
            40 22 0:44 / /mnt/far\\040away rw shared:9 - fuse.sshfs me@there:/ rw,user_id=0\n\
            41 22 0:45 / /mnt/box rw shared:9 - fuse.fuse-overlayfs fuse-overlayfs rw\n\
            42 41 0:46 / /mnt/box/s3 rw - fuse mountpoint-s3 rw\n";
        let check = |path, expected| assert_eq!(by_program(mounts, path), expected, "{path}");
        check("/mnt/far away/husk", Some("sshfs"));
        check("/mnt/far", None);
        check("/mnt/box/husk", None);
        check("/mnt/box/s3/husk", Some("mountpoint-s3"));
        check("/home/me", None);
    }
}
