import type { Readable } from "node:stream";
import type { JournalQuery } from "../units/journal-query.ts";

/** Port to this machine's journal and systemctl. Adapter: process-unit-logs.ts. */
export interface UnitLogs {
  journal(query: JournalQuery): TextProcess;
  /** `systemctl status` of a unit. */
  status(unit: string): TextProcess;
}

export interface TextProcess {
  /** What it prints, errors included; ends with the process. */
  readonly output: Readable;
  /** 127 when it could not be started. */
  readonly exitStatus: Promise<number>;
  /** Ends it. Late or twice is harmless. */
  stop(): void;
}
