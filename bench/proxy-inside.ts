// node proxy-inside.ts DIRECTORY ROUNDS SECONDS: the measuring part of `bench proxy`, in a network of its own. Says samples as lines of JSON.
import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { promisify } from "node:util";
import type { Sample } from "./harness.ts";

const runFile = promisify(execFile);
/** Holds the bundled plane; what is started here may write into it. */
const [directory = "", ...numbers] = process.argv.slice(2);
const [rounds = 5, seconds = 2] = numbers.map(Number);
const TICKS_PER_SECOND = 100;
const IDLE_WANTED = 10_000;
const HOLD_PORT = 8200;
/** Turns a round at connections a second: what else the machine does weighs on short turns most. */
const CONNECTION_TURNS = 3;

interface Plane {
  readonly name: string;
  readonly argv: readonly (readonly string[])[];
  /** For bytes; the next two are for requests and held connections. */
  readonly port: number;
  readonly isKernel?: boolean;
}

const here = import.meta.dirname;
const proxyd = (port: number, to: number) => [
  ...["systemd-socket-activate", "-l", `127.0.0.1:${port}`, "/lib/systemd/systemd-socket-proxyd"],
  ...["--connections-max=20000", `127.0.0.1:${to}`],
];
/** Those that are compared run one after another, so that what else the machine does weighs on both. */
const PLANES: readonly Plane[] = [
  { name: "direct", argv: [], port: 5201, isKernel: true },
  {
    name: "nft",
    argv: [[process.execPath, `${directory}/plane.mjs`, "nft", "6051"]],
    port: 6051,
    isKernel: true,
  },
  { name: "haproxy", argv: [["haproxy", "-db", "-q", "-f", `${here}/haproxy.cfg`]], port: 6001 },
  {
    name: "node",
    argv: [[process.execPath, `${directory}/plane.mjs`, "node", "6041"]],
    port: 6041,
  },
  { name: "haproxy_splice", argv: [], port: 6011 },
  { name: "nginx", argv: [nginx("stream")], port: 6021 },
  {
    name: "socket_proxyd",
    argv: [proxyd(6031, 5201), proxyd(6032, 8099), proxyd(6033, HOLD_PORT)],
    port: 6031,
  },
];
/** Shown beside ours; no ratio rests on them. */
const PEERS: ReadonlySet<string> = new Set(["nginx", "socket_proxyd"]);
const samples: Sample[] = [];
const children: ChildProcess[] = [];
const processes = new Map<string, readonly ChildProcess[]>();

function nginx(config: string): readonly string[] {
  return ["nginx", "-c", `${here}/nginx-${config}.conf`, "-g", "daemon off;"];
}

function say(what: { readonly sample?: Sample; readonly note?: string }): void {
  console.log(JSON.stringify(what));
}

function record(name: string, unit: string, value: number): void {
  const sample = { name: `proxy.${name}`, unit, value };
  samples.push(sample);
  say({ sample });
}

function start(argv: readonly string[]): ChildProcess {
  const [program = "", ...args] = argv[0] === "nginx" ? [...argv, "-p", directory] : argv;
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "ignore"] });
  children.push(child);
  return child;
}

function portOf(plane: Plane, what: "bytes" | "requests" | "held"): number {
  if (plane.name === "direct") return { bytes: 5201, requests: 8099, held: HOLD_PORT }[what];
  return plane.port + ["bytes", "requests", "held"].indexOf(what);
}

/** Of a plane's processes with their own children. */
function statOf(plane: Plane): { readonly cpuSeconds: number; readonly rssMb: number } {
  // Both ways of HAProxy are one process.
  const own = processes.get(plane.name === "haproxy_splice" ? "haproxy" : plane.name) ?? [];
  const pids = new Set(own.map(({ pid }) => pid));
  let [ticks, rssKb] = [0, 0];
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const fields = readFileSync(`/proc/${entry}/stat`, "utf8")
        .replace(/^.*\) /, "")
        .split(" ");
      if (!pids.has(Number(entry)) && !pids.has(Number(fields[1]))) continue;
      ticks += Number(fields[11]) + Number(fields[12]);
      rssKb += Number(
        /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${entry}/status`, "utf8"))?.[1] ?? 0,
      );
    } catch {
      // It ended while it was looked at.
    }
  }
  return { cpuSeconds: ticks / TICKS_PER_SECOND, rssMb: rssKb / 1024 };
}

interface IperfEnd {
  readonly sum_received?: { readonly bytes: number; readonly seconds: number };
  readonly cpu_utilization_percent: { readonly host_total: number; readonly remote_total: number };
}

async function measureBytes(plane: Plane, connections: number): Promise<void> {
  for (let attempt = 0; attempt < 5; attempt++) {
    const server = start(["iperf3", "-s", "-1", "-B", "127.0.0.1", "-p", "5201"]);
    // Looked up, as connecting would be the one connection it takes.
    await untilTrue("iperf3 listens", () =>
      / 0100007F:1451 00000000:0000 0A /.test(readFileSync("/proc/net/tcp", "utf8")),
    );
    const before = statOf(plane).cpuSeconds;
    const port = String(portOf(plane, "bytes"));
    const args = [
      "-c",
      "127.0.0.1",
      "-p",
      port,
      "-t",
      String(seconds),
      "-P",
      String(connections),
      "-J",
    ];
    const { stdout } = await runFile("iperf3", args, { maxBuffer: 2 ** 28 }).catch(() => ({
      stdout: "{}",
    }));
    const own = statOf(plane).cpuSeconds - before;
    const ended = server.exitCode === null && once(server, "close");
    server.kill("SIGKILL");
    await ended;
    const { end } = JSON.parse(stdout) as { readonly end?: IperfEnd };
    if (end?.sum_received === undefined) continue;
    const gigabytes = end.sum_received.bytes / 1e9;
    record(
      `${plane.name}.mb_s_${connections}`,
      "MB/s",
      (gigabytes * 1e3) / end.sum_received.seconds,
    );
    if (connections !== 1) return;
    const { host_total, remote_total } = end.cpu_utilization_percent;
    const ends = ((host_total + remote_total) / 100) * seconds;
    record(`${plane.name}.cpu_s_per_gb`, "s, both ends included", (own + ends) / gigabytes);
    if (!plane.isKernel) record(`${plane.name}.own_cpu_s_per_gb`, "s", own / gigabytes);
    return;
  }
  if (!PEERS.has(plane.name)) throw new Error(`iperf3 did not get through ${plane.name}`);
  say({ note: `left out: iperf3 did not get through ${plane.name}` });
}

async function wrk(args: readonly string[], port: number, path: string): Promise<string> {
  const all = ["-t1", `-d${seconds}`, "--latency", ...args, `http://127.0.0.1:${port}${path}`];
  return (await runFile("wrk", all)).stdout;
}

async function measureConnections(plane: Plane): Promise<void> {
  const port = portOf(plane, "requests");
  const before = statOf(plane).cpuSeconds;
  const text = await wrk(["-c64"], port, "/close");
  const rate = number(text, /Requests\/sec:\s+([\d.]+)/);
  record(`${plane.name}.conn_s`, "connections/s", rate);
  if (!plane.isKernel) {
    const own = statOf(plane).cpuSeconds - before;
    record(
      `${plane.name}.own_cpu_us_per_conn`,
      "us",
      (own * 1e6) / number(text, /(\d+) requests in/),
    );
  }
}

async function measureEcho(plane: Plane): Promise<void> {
  const args = ["-c16", "-s", `${here}/proxy-echo.lua`];
  const echo = await wrk(args, portOf(plane, "requests"), "/");
  for (const share of [50, 99]) {
    const [, value, unit] = new RegExp(`${share}%\\s+([\\d.]+)(us|ms|s)`).exec(echo) ?? [];
    const toMs = { us: 1e-3, ms: 1, s: 1e3 }[unit ?? ""] ?? Number.NaN;
    record(`${plane.name}.echo_p${share}_ms`, "ms", Number(value) * toMs);
  }
}

function number(text: string, pattern: RegExp): number {
  const value = pattern.exec(text)?.[1];
  if (value === undefined) throw new Error(`no ${pattern} in: ${text}`);
  return Number(value);
}

/** As many as the limit of open files allows. */
async function measureIdle(plane: Plane): Promise<void> {
  const limit = Number(
    /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1],
  );
  // systemd-socket-proxyd splices through two pipes each: six files a connection, ours and the others' two.
  const fits = Math.floor((limit - 600) / (plane.name === "socket_proxyd" ? 6 : 2));
  const wanted = Math.min(IDLE_WANTED, fits);
  const held = new Set<Socket>();
  const server = createServer((socket) => held.add(socket.on("error", () => {})));
  server.listen({ port: HOLD_PORT, host: "127.0.0.1", backlog: 4096 });
  await once(server, "listening");
  const clients: Socket[] = [];
  try {
    while (clients.length < wanted) {
      const batch = Array.from({ length: Math.min(200, wanted - clients.length) }, () =>
        connect(portOf(plane, "held"), "127.0.0.1").on("error", () => {}),
      );
      clients.push(...batch);
      await untilTrue(`${plane.name} holds ${clients.length}`, () => held.size === clients.length);
    }
    record(`${plane.name}.rss_idle_mb`, `MB at ${wanted} idle connections`, statOf(plane).rssMb);
  } finally {
    for (const socket of [...clients, ...held]) socket.destroy();
    server.close();
    await delay(500);
  }
}

async function untilTrue(what: string, look: () => boolean): Promise<void> {
  for (let waitedMs = 0; !look(); waitedMs += 5) {
    if (waitedMs > 30_000) throw new Error(`timed out waiting until ${what}`);
    await delay(5);
  }
}

/** Turn by turn, as they are side by side; HAProxy's better way and the worse of two figures count. */
function recordRatios(): void {
  const valuesOf = (name: string) =>
    samples.filter((sample) => sample.name === `proxy.${name}`).map(({ value }) => value);
  const ratio = (ours: string, theirs: string, figure: string) => {
    const others = valuesOf(`${theirs}.${figure}`);
    const ratios = valuesOf(`${ours}.${figure}`).map((value, turn) => value / (others[turn] ?? 0));
    return ratios.sort((a, b) => a - b)[Math.floor(ratios.length / 2)] ?? Number.NaN;
  };
  const worst = (ours: string, theirs: readonly string[], figures: readonly string[]) =>
    Math.min(...theirs.flatMap((one) => figures.map((figure) => ratio(ours, one, figure))));
  const haproxy = ["haproxy", "haproxy_splice"];
  const bytes = ["mb_s_1", "mb_s_64"];
  record("node.mb_s_vs_haproxy", "ratio", worst("node", haproxy, bytes));
  record("node.conn_s_vs_haproxy", "ratio", worst("node", haproxy, ["conn_s"]));
  record("nft.mb_s_vs_direct", "ratio", worst("nft", ["direct"], bytes));
  record("nft.conn_s_vs_direct", "ratio", worst("nft", ["direct"], ["conn_s"]));
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function main(): Promise<void> {
  execFileSync("ip", ["link", "set", "lo", "up"]);
  start(nginx("backend"));
  for (const plane of PLANES) processes.set(plane.name, plane.argv.map(start));
  for (const plane of PLANES) {
    await untilAnswered(plane);
    // None of them is measured while it is new: a compiler that is at work is no part of a connection.
    for (let turn = 0; turn < CONNECTION_TURNS; turn++)
      await wrk(["-c64"], portOf(plane, "requests"), "/close");
  }
  for (let round = 1; round <= rounds; round++) {
    say({ note: `round ${round} of ${rounds}` });
    for (const plane of PLANES) await measureBytes(plane, 1);
    for (const plane of PLANES) await measureBytes(plane, 64);
    for (let turn = 0; turn < CONNECTION_TURNS; turn++)
      for (const plane of PLANES) await measureConnections(plane);
    for (const plane of PLANES) await measureEcho(plane);
  }
  for (const plane of PLANES) {
    if (plane.isKernel || plane.name === "haproxy_splice") continue;
    say({ note: `idle connections through ${plane.name}` });
    await measureIdle(plane);
  }
  recordRatios();
}

async function untilAnswered(plane: Plane): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    const answer = await fetch(`http://127.0.0.1:${portOf(plane, "requests")}/close`).catch(
      () => undefined,
    );
    if ((await answer?.text()) === "closing") return;
    if (attempt > 300) throw new Error(`${plane.name} does not answer`);
    await delay(100);
  }
}

try {
  await main();
} finally {
  for (const child of children) child.kill("SIGTERM");
  await delay(300);
  for (const child of children) child.kill("SIGKILL");
}
process.exit(process.exitCode ?? 0);
