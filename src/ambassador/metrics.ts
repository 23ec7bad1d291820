import { type BackendStats, connectBoundsMs, type LinkStats } from "./proxy.ts";

type Labels = Readonly<Record<string, string | number>>;
type Kind = "counter" | "gauge" | "histogram";

/** One metric of many links, in Prometheus' text form. */
class Metric {
  readonly #name: string;
  readonly #lines: string[];

  constructor(name: string, kind: Kind, help: string) {
    this.#name = `fleet_ambassador_${name}`;
    this.#lines = [`# HELP ${this.#name} ${help}`, `# TYPE ${this.#name} ${kind}`];
  }

  add(labels: Labels, value: number | undefined, suffix = ""): void {
    if (value === undefined) return;
    const pairs = Object.entries(labels).map(([key, one]) => `${key}="${escaped(String(one))}"`);
    this.#lines.push(`${this.#name}${suffix}{${pairs.join(",")}} ${value}`);
  }

  get text(): string {
    return `${this.#lines.join("\n")}\n`;
  }
}

/** `isDaemonConnected`: whether news of services come in. */
export function metricsText(links: readonly LinkStats[], isDaemonConnected: boolean): string {
  const connected = new Metric("daemon_connected", "gauge", "Whether fleetd-ts is connected.");
  connected.add({}, isDaemonConnected ? 1 : 0);
  return [connected, ...linkMetrics(links), ...backendMetrics(links), connectMetric(links)]
    .map(({ text }) => text)
    .join("");
}

function linkMetrics(links: readonly LinkStats[]): readonly Metric[] {
  const open = new Metric("connections_open", "gauge", "Connections open now, held ones included.");
  const held = new Metric("connections_held", "gauge", "Connections that wait for a backend.");
  const accepted = new Metric("connections_accepted_total", "counter", "Connections accepted.");
  const refused = new Metric("connections_refused_total", "counter", "Connections refused.");
  for (const stats of links) {
    const link = stats.name;
    open.add({ link }, stats.open);
    held.add({ link }, stats.held);
    accepted.add({ link }, stats.accepted);
    for (const [reason, count] of Object.entries(stats.refused))
      refused.add({ link, reason }, count);
  }
  return [open, held, accepted, refused];
}

function backendMetrics(links: readonly LinkStats[]): readonly Metric[] {
  const kinds: readonly (readonly [Metric, (stats: BackendStats) => number | undefined])[] = [
    [new Metric("backend_connections_open", "gauge", "Connections open now."), (b) => b.open],
    [
      new Metric("backend_connections_total", "counter", "Connections given to it."),
      (b) => b.total,
    ],
    [
      new Metric("backend_connect_failures_total", "counter", "Connects that failed."),
      (b) => b.connectFailures,
    ],
    [new Metric("backend_errors_total", "counter", "Connections it broke."), (b) => b.errors],
    [new Metric("backend_ejected", "gauge", "Whether it is left out."), (b) => +(b.ejectedMs > 0)],
    [new Metric("backend_sent_bytes_total", "counter", "To it."), (b) => b.bytesToBackend],
    [new Metric("backend_received_bytes_total", "counter", "From it."), (b) => b.bytesToClient],
  ];
  for (const { name: link, backends } of links) {
    for (const stats of backends)
      for (const [metric, value] of kinds) metric.add({ link, backend: stats.id }, value(stats));
  }
  return kinds.map(([metric]) => metric);
}

function connectMetric(links: readonly LinkStats[]): Metric {
  const metric = new Metric("backend_connect_seconds", "histogram", "Of successful connects.");
  for (const { name: link, backends } of links) {
    for (const { id: backend, connect } of backends) {
      const labels = { link, backend };
      for (const [index, boundMs] of connectBoundsMs.entries())
        metric.add({ ...labels, le: boundMs / 1_000 }, connect.counts[index] ?? 0, "_bucket");
      metric.add({ ...labels, le: "+Inf" }, connect.count, "_bucket");
      metric.add(labels, connect.sumMs / 1_000, "_sum");
      metric.add(labels, connect.count, "_count");
    }
  }
  return metric;
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
