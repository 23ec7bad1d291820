import type { Readable } from "node:stream";

/** Port to this machine's journal and systemctl. Adapter: process-unit-logs.ts. */
export interface UnitLogs {
  journal(options: JournalOptions): TextProcess;
  /** `systemctl status` of a unit. */
  status(unit: string): TextProcess;
}

export interface JournalOptions {
  readonly unit: string;
  readonly lines: number | "all";
  readonly follow: boolean;
  readonly output: JournalOutput;
}

export type JournalOutput = "short" | "short-iso" | "short-precise" | "json" | "cat" | "verbose";

export const JOURNAL_OUTPUTS: readonly JournalOutput[] = [
  "short",
  "short-iso",
  "short-precise",
  "json",
  "cat",
  "verbose",
];

export interface TextProcess {
  /** What it prints, errors included; ends with the process. */
  readonly output: Readable;
  /** 127 when it could not be started. */
  readonly exitStatus: Promise<number>;
  /** Ends it. Late or twice is harmless. */
  stop(): void;
}
