import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { sha256Schema } from '../../core/schema.ts'
import { sha256, writeAtomic } from '../../core/files.ts'

/**
 * What a stored graph needs besides itself. Stored as `<graph>.json`, which is written after everything that it names.
 */
interface SubgraphRecord {
  readonly graphSha256: string
  /** Bytes of all constants of the graph. */
  readonly weightBytes: number
  /** Files of weights in the same folder, with their sizes in bytes. */
  readonly blocks: Readonly<Record<string, number>>
}

const count = z.int().min(0)
const recordSchema = z.strictObject({
  graphSha256: sha256Schema,
  weightBytes: count,
  // File names only, so that no path leads out of the folder.
  blocks: z.record(z.string().regex(/^\w[\w.~+-]*\.bin$/), count),
})

/** Writes a graph's record beside it. */
export function writeRecord(graphPath: string, record: SubgraphRecord): void {
  writeAtomic(`${graphPath}.json`, JSON.stringify(record))
}

/** The record of a graph if the graph can be used as it is; null if a file is missing or is not the recorded one. */
export function usableRecord(folder: string, graphPath: string): SubgraphRecord | null {
  const record = readRecord(`${graphPath}.json`)
  if (record === null) return null
  for (const [name, bytes] of Object.entries(record.blocks)) {
    if (statSync(join(folder, name), { throwIfNoEntry: false })?.size !== bytes) return null
  }
  const graph = readOrNull(graphPath)
  return graph !== null && sha256(graph) === record.graphSha256 ? record : null
}

/** A damaged record counts as missing: the graph is then built again. */
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
