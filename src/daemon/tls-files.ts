import { readFileSync } from "node:fs";
import type { TlsTexts } from "../api/listen.ts";
import { errorMessage, FleetError } from "../runtime/errors.ts";
import type { Config } from "./config.ts";

/** Certificates of the API; undefined: it has none to show. */
export function tlsFiles(config: Config): TlsTexts | undefined {
  const { insecure, tlsCaFile, tlsCertFile, tlsKeyFile } = config;
  if (insecure || tlsCaFile === undefined || tlsCertFile === undefined || tlsKeyFile === undefined)
    return undefined;
  return { ca: readPem(tlsCaFile), cert: readPem(tlsCertFile), key: readPem(tlsKeyFile) };
}

export function readOptional(path: string | undefined): string | undefined {
  return path === undefined ? undefined : readPem(path);
}

function readPem(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new FleetError(
      "config-invalid",
      `cannot read ${path}, named in fleet.conf: ${errorMessage(error)}`,
    );
  }
}
