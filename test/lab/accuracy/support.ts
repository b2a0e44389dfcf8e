import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { assess } from '../../../src/lab/accuracy/assess.ts'
import type { Assessment } from '../../../src/lab/accuracy/types.ts'
import type { AssessOptions } from '../../../src/lab/accuracy/assess.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { openEngine } from '../../../src/core/engine/open.ts'
import { openSubgraphStore } from '../../../src/model/graphs/subgraphStore.ts'
import type { WeightSource } from '../../../src/model/graphs/source.ts'

/** Measures a source on windows, with its segments in a folder that goes again. */
export async function assessed(
  source: WeightSource,
  windows: readonly (readonly number[])[],
  changes: Partial<AssessOptions> = {},
): Promise<Assessment | null> {
  const folder = mkdtempSync(join(tmpdir(), 'edgewise-assess-'))
  const engine = await openEngine('native')
  try {
    return await assess({
      engine,
      source,
      windows,
      fingerprint: 'f'.repeat(64),
      text: 'a text',
      clock: systemClock,
      files: (precision) => openSubgraphStore(folder, source, precision),
      budgetBytes: 2 ** 30,
      ...changes,
    })
  } finally {
    await engine.close()
    rmSync(folder, { recursive: true, force: true })
  }
}
