import { rename, writeFile } from "node:fs/promises";
import { errorMessage } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Config } from "./config.ts";

/** For whoever looks into a daemon that runs: as JSON in a file that only root can read, whole or not at all. */
export async function writeState(config: Config, state: object, logger: Logger): Promise<void> {
  const file = `${config.runDirectory}/state.json`;
  const text = JSON.stringify({ ...state, config }, hidden, 2);
  try {
    await writeFile(`${file}.new`, `${text}\n`, { mode: 0o600 });
    await rename(`${file}.new`, file);
    logger.info("state-written", { file, bytes: text.length });
  } catch (error) {
    logger.error("state-not-written", { file, error: errorMessage(error) });
  }
}

function hidden(key: string, value: unknown): unknown {
  return key === "etcdPassword" && value !== undefined ? "(hidden)" : value;
}
