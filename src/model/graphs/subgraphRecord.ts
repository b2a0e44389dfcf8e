import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { sha256, writeAtomic } from '../../core/files.ts'

/** What a stored graph needs beside itself; it lies in `<graph>.json`, written after all that it names. */
export interface SubgraphRecord {
  readonly graphSha256: string
  /** Bytes of all constants of the graph. */
  readonly weightBytes: number
  /** Files of weights in the same folder, by name, with their sizes. */
  readonly blocks: Readonly<Record<string, number>>
}

const count = z.int().min(0)
const recordSchema = z.strictObject({
  graphSha256: z.string().regex(/^[0-9a-f]{64}$/),
  weightBytes: count,
  // Names only: no path leaves the folder.
  blocks: z.record(z.string().regex(/^\w[\w.~+-]*\.bin$/), count),
})

export function writeRecord(graphPath: string, record: SubgraphRecord): void {
  writeAtomic(`${graphPath}.json`, JSON.stringify(record))
}

/** The record of a graph that can be used as it lies there; null where anything is missing, cut short or another's. */
export function usableRecord(folder: string, graphPath: string): SubgraphRecord | null {
  const record = readRecord(`${graphPath}.json`)
  if (record === null) return null
  for (const [name, bytes] of Object.entries(record.blocks)) {
    if (statSync(join(folder, name), { throwIfNoEntry: false })?.size !== bytes) return null
  }
  const graph = readOrNull(graphPath)
  return graph !== null && sha256(graph) === record.graphSha256 ? record : null
}

/** A damaged record is none: what it stands for is then made anew. */
function readRecord(path: string): SubgraphRecord | null {
  const bytes = readOrNull(path)
  if (bytes === null) return null
  try {
    const { data } = recordSchema.safeParse(JSON.parse(bytes.toString('utf8')))
    return data ?? null
  } catch {
    return null
  }
}

function readOrNull(path: string): Buffer | null {
  try {
    return readFileSync(path)
  } catch {
    return null
  }
}
