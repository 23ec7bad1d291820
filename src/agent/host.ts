/**
 * Host port: what a machine is, and the small records the daemon leaves on it. Adapters: `linux-host.ts`, `memory-host.ts`.
 */
export interface Host {
  /** /etc/machine-id: 32 hexadecimal digits. */
  readonly machineId: string;
  /** Changes with every boot. */
  readonly bootId: string;
  facts(): Promise<HostFacts>;
  /** /run/fleet: survives the daemon, dies with the boot. */
  readonly volatile: RecordFolder;
  /** /var/lib/fleet-ts: survives everything; a resolved write survives power loss. */
  readonly persistent: RecordFolder;
}

export interface HostFacts {
  /** The address others reach the machine by: of the interface of the default route; empty when there is none. */
  readonly address: string;
  /** Metadata every machine has by itself: `arch`, `os`, `kernel`, `hostname`, `systemd`. */
  readonly automatic: Readonly<Record<string, string>>;
  readonly capacity: {
    readonly cpus: number;
    readonly memoryBytes: number;
    readonly tasks: number;
  };
}

/**
 * Named texts. A name is one or two path segments (`lease`, `started/web.service`). Writes are atomic: a reader sees the old text or the
 * new one. Errors: `host-io`.
 */
export interface RecordFolder {
  read(name: string): Promise<string | undefined>;
  write(name: string, text: string): Promise<void>;
  /** Removing what is not there is no error. */
  remove(name: string): Promise<void>;
  /** Last segments of the names below `folder`, sorted; empty when there is no such folder. */
  list(folder: string): Promise<readonly string[]>;
}
