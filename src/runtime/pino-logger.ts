import { pino } from "pino";
import type { LogFields, Logger } from "./logger.ts";

/**
 * One line of `event key=value ...` per event on standard error. journald adds time and unit; its own level prefix (`<6>`, sd-daemon(3))
 * lets `journalctl -p` filter.
 */
export function openLogger(options: {
  debug: boolean;
  prefixLevel: boolean;
}): Logger & { setDebug(debug: boolean): void } {
  let lines = "";
  const flush = () => {
    const text = lines;
    lines = "";
    if (text !== "") process.stderr.write(text);
  };
  // What is said in one go is written in one go: a hundred starts are some hundred lines, and each write wakes journald.
  const write = (line: string) => {
    if (lines === "") setImmediate(flush);
    lines += formatLine(line, options.prefixLevel);
  };
  process.on("exit", flush);
  const sink = pino(
    {
      level: levelOf(options.debug),
      base: null,
      timestamp: false,
      messageKey: "event",
      formatters: { level: (label) => ({ level: label }) },
    },
    { write },
  );
  const at =
    (level: "debug" | "info" | "warn" | "error") =>
    (event: string, fields: LogFields = {}) =>
      sink[level](fields, event);
  return {
    ...{ debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") },
    setDebug: (debug) => {
      sink.level = levelOf(debug);
    },
  };
}

function levelOf(debug: boolean): "debug" | "info" {
  return debug ? "debug" : "info";
}

const SYSLOG_LEVELS: Readonly<Record<string, string>> = {
  debug: "<7>",
  info: "<6>",
  warn: "<4>",
  error: "<3>",
};

function formatLine(json: string, prefixLevel: boolean): string {
  const { level, event, ...fields } = JSON.parse(json) as { level: string; event: string } & Record<
    string,
    unknown
  >;
  const pairs = Object.entries(fields).map(([key, value]) => ` ${key}=${formatValue(value)}`);
  return `${prefixLevel ? SYSLOG_LEVELS[level] : ""}${event}${pairs.join("")}\n`;
}

function formatValue(value: unknown): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "-");
  return typeof value === "string" && /[\s"=]/.test(text) ? JSON.stringify(text) : text;
}
