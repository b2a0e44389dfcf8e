import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { assess } from '../../src/assess/assess.ts'
import type { Assessment, AssessOptions } from '../../src/assess/index.ts'
import { systemClock } from '../../src/base/clock.ts'
import { openEngine } from '../../src/engine/open.ts'
import { openSegmentStore } from '../../src/model/segmentStore.ts'
import type { WeightSource } from '../../src/model/source.ts'

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
      ...{ engine, source, windows, fingerprint: 'f'.repeat(64), text: 'a text', clock: systemClock },
      files: (precision) => openSegmentStore(folder, source, precision),
      budgetBytes: 2 ** 30,
      ...changes,
    })
  } finally {
    await engine.close()
    rmSync(folder, { recursive: true, force: true })
  }
}
