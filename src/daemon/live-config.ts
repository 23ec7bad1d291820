import type { TlsTexts } from "../api/listen.ts";
import { errorMessage, isFleetError } from "../runtime/errors.ts";
import type { Logger } from "../runtime/logger.ts";
import type { Config } from "./config.ts";
import { tlsFiles } from "./tls-files.ts";

/** What changes without a restart; everything else is named in the log and waits for one. */
const IN_PLACE: readonly (keyof Config)[] = [
  ...(["verbose", "metadata", "overcommit", "agentTtlMs", "publicIp"] as const),
  ...(["tlsCaFile", "tlsCertFile", "tlsKeyFile", "notes"] as const),
];

/** The configuration as it is now. */
export class LiveConfig {
  readonly #load: () => Config;
  readonly #logger: Logger;
  #config: Config;
  #tls: TlsTexts | undefined;

  constructor(options: { config: Config; load: () => Config; logger: Logger }) {
    this.#load = options.load;
    this.#logger = options.logger;
    this.#config = options.config;
    this.#tls = tlsFiles(options.config);
  }

  get config(): Config {
    return this.#config;
  }

  get tls(): TlsTexts | undefined {
    return this.#tls;
  }

  /**
   * Reads it again, and gives back whether it counts now. When the file, or one it names, is wrong, or `useTls` throws, all stays as it
   * was and the log says why.
   */
  reload(useTls: (tls: TlsTexts) => void): boolean {
    const before = this.#config;
    try {
      const read = this.#load();
      const inPlace = Object.fromEntries(IN_PLACE.map((key) => [key, read[key]]));
      const config: Config = { ...before, ...inPlace };
      const tls = tlsFiles(config);
      if (tls !== undefined) useTls(tls);
      this.#config = config;
      this.#tls = tls;
      for (const note of config.notes) this.#logger.warn("configuration", { note });
      this.#logger.info("reloaded", { changed: differing(before, config) });
      const waiting = differing(config, read);
      if (waiting.length > 0) this.#logger.warn("needs-restart", { settings: waiting });
      return true;
    } catch (error) {
      // A wrong setting, or texts in TLS files that OpenSSL does not take.
      if (!isFleetError(error) && !(error instanceof Error && "code" in error)) throw error;
      this.#logger.error("reload-refused", { error: errorMessage(error), kept: "all as it was" });
      return false;
    }
  }
}

function differing(a: Config, b: Config): readonly string[] {
  return Object.keys(a).filter((key) => textOf(a, key) !== textOf(b, key));
}

function textOf(config: Config, name: string): string | undefined {
  const found = Object.entries(config).find(([key]) => key === name);
  return JSON.stringify(found?.[1]);
}
