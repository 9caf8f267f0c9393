# The first process of a machine in namespaces of its own: all that runs in the machine ends with it, and it ends
# when nobody holds its standard input any more. What is changed here is changed in memory, for this machine only.
#
#   machine.sh NAME ADDRESS ENVIRONMENT EXAMPLE [SSHD]    with SSHD it is a host, without the gateway's
set -eu
name=$1 address=$2 environment=$3 example=$4 sshd=${5-}

# Its number as the tests have it: /proc is theirs still.
read -r pid rest </proc/self/stat
echo "$pid"

mount --make-rprivate /
mount -t proc proc /proc
for folder in /run /srv; do mount -t tmpfs -o mode=755 tmpfs "$folder"; done
mkdir /srv/kernels /srv/gateway /run/etc /run/work /run/sshd
mount --bind "$environment" /srv/kernels
mount --bind "$example" /srv/gateway
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/work overlay /etc
[ -z "$sshd" ] || cp "$sshd" /run/sshd/program
mount -t tmpfs -o mode=755 tmpfs /home
mount -t tmpfs -o mode=1777 tmpfs /tmp
hostname "$name"
echo "$address $name" >>/etc/hosts
ip link set lo up

if [ -z "$sshd" ]; then
  ip link add name bridge type bridge
  ip address add "$address/24" dev bridge
  ip link set bridge up
  /srv/gateway/set-up-gateway
else
  # Once its cable is there.
  read -r gateway key
  ip address add "$address/24" dev eth0
  ip link set eth0 up
  /srv/gateway/set-up-host "$gateway" "$key"
  id sshd >/dev/null 2>&1 || useradd --system --home-dir /run/sshd --shell /usr/sbin/nologin sshd
  ssh-keygen -q -t ed25519 -N '' -f /run/host_key
  printf '%s\n' 'HostKey /run/host_key' 'PidFile none' 'UsePAM no' 'PasswordAuthentication no' \
    'AddressFamily inet' >/run/sshd_config
  /run/sshd/program -D -e -f /run/sshd_config 2>&1 &
fi

cat >/dev/null
