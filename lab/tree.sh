# shellcheck shell=bash
# A machine's file tree: links into the host's /usr, a small /etc of its own, an empty /var. Part of lab.sh.
# shellcheck disable=SC2154  # LAB_DIR, BASE, TAG, LAB_MORE and LAB_NET are lab.sh's

UNWANTED="console-getty.service getty.target systemd-networkd-wait-online.service systemd-firstboot.service
  systemd-logind.service systemd-user-sessions.service systemd-update-utmp.service systemd-update-utmp-runlevel.service
  systemd-tmpfiles-clean.timer systemd-binfmt.service systemd-modules-load.service systemd-pstore.service
  systemd-hwdb-update.service systemd-machine-id-commit.service systemd-repart.service var-lib-machines.mount
  dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount
  sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount"
ETC="passwd group nsswitch.conf ld.so.cache ld.so.conf ld.so.conf.d ssl/certs ssl/openssl.cnf ca-certificates.conf
  alternatives pam.d pam.conf security login.defs profile bash.bashrc debian_version services protocols gai.conf
  host.conf localtime timezone dbus-1 containers default/locale subuid subgid shells"   # no secrets
tree() {
  local root=$LAB_DIR/m$1/root d f j
  [ -e "$LAB_DIR/m$1/made" ] && return
  rm -rf --one-file-system "$root"; mkdir -p "$root"/{usr,etc/{systemd/{system,journald.conf.d},ssh,ssl,default},var/{log/journal,tmp,lib,cache,spool},dev,proc,sys,run,tmp,opt,srv,home,mnt}
  mkdir -p -m 700 "$root/root"; chmod 1777 "$root"/{tmp,var/tmp}; ln -sfn /run "$root/var/run"
  for d in bin sbin lib lib32 lib64 libx32; do [ -e "$BASE/$d" ] && ln -sfn "usr/$d" "$root/$d"; done
  for f in $ETC; do [ -e "$BASE/etc/$f" ] && cp -a "$BASE/etc/$f" "$root/etc/${f%/*}" 2>/dev/null || true; done
  cp -L "$BASE/etc/os-release" "$root/etc/os-release"   # nspawn wants a real file
  (umask 077; sed 's/:.*/:*:19000:0:99999:7:::/' "$BASE/etc/passwd" > "$root/etc/shadow")
  for f in $UNWANTED; do ln -sfn /dev/null "$root/etc/systemd/system/$f"; done
  ln -sfn /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
  printf '[Journal]\nStorage=persistent\nSystemMaxUse=64M\nRateLimitIntervalSec=0\nAudit=no\n' > "$root/etc/systemd/journald.conf.d/lab.conf"
  echo "m$1" > "$root/etc/hostname"; : > "$root/etc/fstab"
  printf %s "$TAG m$1" | md5sum | cut -c1-32 > "$root/etc/machine-id"
  { echo "127.0.0.1 localhost"; echo "::1 localhost"; echo "$LAB_NET.1 lab-host"
    for j in $(seq 1 100); do echo "$(ip_of "$j") m$j"; done; } > "$root/etc/hosts"
  [ -z "$LAB_MORE" ] || [ ! -d "$LAB_MORE/etc" ] || cp -a "$LAB_MORE/etc/." "$root/etc"
  if [ -x "$BASE/usr/bin/podman" ] || { [ -n "$LAB_MORE" ] && [ -x "$LAB_MORE/usr/bin/podman" ]; }; then   # no kernel keyring in nspawn; the unit's cgroup has to do
    mkdir -p "$root/etc/containers/containers.conf.d"
    printf '%s\n' '[containers]' 'keyring = false' 'cgroups = "disabled"' '[engine]' 'cgroup_manager = "cgroupfs"' \
      'events_logger = "file"' > "$root/etc/containers/containers.conf.d/lab.conf"; fi
  if [ -x "$BASE/usr/sbin/sshd" ]; then ssh_machine "$root"; fi
  touch "$LAB_DIR/m$1/made"
}
ssh_machine() { # sshd on demand, open to the lab's own key: ssh -i $LAB_DIR/key root@IP
  [ -e "$LAB_DIR/key" ] || ssh-keygen -q -t ed25519 -N '' -C lab -f "$LAB_DIR/key"
  [ -e "$LAB_DIR/hostkey" ] || ssh-keygen -q -t ed25519 -N '' -C lab -f "$LAB_DIR/hostkey"
  cp -p "$LAB_DIR"/hostkey "$1/etc/ssh/ssh_host_ed25519_key"
  printf '%s\n' 'HostKey /etc/ssh/ssh_host_ed25519_key' 'PermitRootLogin prohibit-password' 'UsePAM no' \
    'PasswordAuthentication no' 'UseDNS no' 'SetEnv PATH=/opt/node/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin' 'Subsystem sftp internal-sftp' > "$1/etc/ssh/sshd_config"
  mkdir -p -m 700 "$1/root/.ssh"; cp "$LAB_DIR/key.pub" "$1/root/.ssh/authorized_keys"
  printf '%s\n' '[Socket]' 'ListenStream=22' 'Accept=yes' > "$1/etc/systemd/system/lab-ssh.socket"
  printf '%s\n' '[Service]' 'RuntimeDirectory=sshd' 'RuntimeDirectoryPreserve=yes' 'ExecStart=-/usr/sbin/sshd -i' \
    'StandardInput=socket' 'StandardError=journal' > "$1/etc/systemd/system/lab-ssh@.service"
  mkdir -p "$1/etc/systemd/system/sockets.target.wants"
  ln -sfn ../lab-ssh.socket "$1/etc/systemd/system/sockets.target.wants/lab-ssh.socket"
}
