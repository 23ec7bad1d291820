import { execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { build } from "esbuild";
import type { Bench, Sample } from "./harness.ts";

/** By what they bring. */
const PACKAGES = {
  haproxy: "/usr/sbin/haproxy",
  "nginx-light": "/usr/sbin/nginx",
  "libnginx-mod-stream": "/usr/lib/nginx/modules/ngx_stream_module.so",
  nftables: "/usr/sbin/nft",
  conntrack: "/usr/sbin/conntrack",
  iperf3: "/usr/bin/iperf3",
  wrk: "/usr/bin/wrk",
} as const;

export const bench: Bench = {
  about:
    "the ambassador's data planes beside a direct connection, HAProxy, nginx and systemd-socket-proxyd",
  references: {
    "proxy.node.mb_s_vs_haproxy": "target: 1.0 or more",
    "proxy.node.conn_s_vs_haproxy": "target: 0.6 or more",
    "proxy.nft.mb_s_vs_direct": "target: 0.85 or more",
    "proxy.nft.conn_s_vs_direct": "target: 0.6 or more",
  },
  async run(context) {
    install();
    // All of it in a network of its own: no port, table or setting of this machine is touched, and all of it ends with its last process.
    const directory = await mkdtemp(join(tmpdir(), "fleet-ts-bench-"));
    const outfile = join(directory, "plane.mjs");
    const entryPoints = [join(import.meta.dirname, "proxy-plane.ts")];
    await build({
      entryPoints,
      outfile,
      bundle: true,
      platform: "node",
      format: "esm",
      minify: true,
    });
    const inside = join(import.meta.dirname, "proxy-inside.ts");
    const numbers = [context.rounds, context.seconds ?? 1].map(String);
    const own = ["--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
    const argv = [...own, process.execPath, inside, directory, ...numbers];
    const child = spawn("unshare", argv, { stdio: ["ignore", "pipe", "inherit"] });
    const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
    for await (const line of createInterface({ input: child.stdout })) {
      const said = JSON.parse(line) as { readonly sample?: Sample; readonly note?: string };
      if (said.sample !== undefined) context.record(said.sample);
      if (said.note !== undefined) context.note(said.note);
    }
    await rm(directory, { recursive: true });
    if ((await ended) !== 0) throw new Error("the measuring process failed");
  },
};

/** What is not there yet; none of the services is started, now or at the next boot. */
function install(): void {
  const missing = Object.entries(PACKAGES).flatMap(([name, file]) =>
    existsSync(file) ? [] : [name],
  );
  if (missing.length === 0) return;
  const script = `
    policy=/usr/sbin/policy-rc.d
    [ -e $policy ] || { made=yes; printf '#!/bin/sh\\nexit 101\\n' > $policy; chmod +x $policy; }
    export DEBIAN_FRONTEND=noninteractive
    install() { apt-get install -y --no-install-recommends "$@"; }
    install "$@" || { apt-get update && install "$@"; } || failed=yes
    [ -z "$made" ] || rm -f $policy
    systemctl --quiet disable haproxy nginx >/dev/null 2>&1
    [ -z "$failed" ]`;
  execFileSync("sh", ["-c", script, "sh", ...missing], { stdio: ["ignore", "ignore", "inherit"] });
}
