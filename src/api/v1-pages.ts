import type { ReadOptions } from "../registry/view-reader.ts";
import { isFleetError } from "../runtime/errors.ts";
import type { ApiRequest, Reply } from "./http.ts";
import { json, Refusal } from "./http.ts";
import { cutPage, encodePageToken, requestedPage } from "./page-token.ts";

/**
 * Answers with the page asked for, cut from the list as it was for the first page. When that is no longer known, from the newest
 * list, as fleet does.
 */
export async function pageReply<T, E>(
  request: ApiRequest,
  list: {
    readonly name: "machines" | "units" | "states";
    readonly limit: number;
    /** The whole list, as of `options.revision`. */
    readonly read: (options: ReadOptions) => Promise<{ revision: number; items: readonly T[] }>;
    /** Entities of the items of one page. */
    readonly entities: (items: readonly T[], options: ReadOptions) => Promise<readonly E[]>;
  },
): Promise<Reply> {
  const token = requestedPage(request.query, list.limit);
  if (token instanceof Refusal) throw token;
  const page = async (asOf: number | undefined) => {
    const { revision, items } = await list.read({ ...request.call, revision: asOf });
    const cut = cutPage(items, token, revision);
    return {
      [list.name]: await list.entities(cut.items, { ...request.call, revision }),
      nextPageToken: cut.next && encodePageToken(cut.next),
    };
  };
  try {
    return json(200, await page(token.revision));
  } catch (error) {
    if (!isFleetError(error, "store-compacted", "store-future-revision")) throw error;
    return json(200, await page(undefined));
  }
}
