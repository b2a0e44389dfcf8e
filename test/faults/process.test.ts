import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { runCampaign } from './campaign.ts'
import { isGood, PROCESS_KINDS } from './kinds.ts'
import { GROWTH, growthOf } from './processWorld.ts'

const cli = join(resolve(import.meta.dirname, '../..'), 'dist', 'cli.js')
/** The long stop alone takes seconds; it has its place in `npm run test:faults`. */
const KINDS = PROCESS_KINDS.filter((kind) => kind !== 'stop the cloud for long')
const absent = !existsSync(cli) || process.platform !== 'linux'

describe.skipIf(absent)(
  'faults of processes (skipped where dist is not built, and off Linux: signals, prlimit)',
  () => {
    test('each kind once: the text of the run without any', async () => {
      const faults = KINDS.map((kind, i) => ({ family: 'process', seed: 7 * (1 + i) + i, kind }) as const)
      const { outcomes } = await runCampaign({ faults, cli, batch: 100, onOutcome: () => {} })
      expect(outcomes.filter((outcome) => !isGood(outcome))).toEqual([])
      expect(outcomes).toHaveLength(KINDS.length)
    })
  },
)

describe('growth', () => {
  const held = (n: number, grow: number) =>
    Array.from({ length: n }, (_, i) => ({ rssBytes: 1e8 + i * grow, handles: 30 }))
  test('is what the last third holds more than the first', () => {
    expect(growthOf('x', held(30, 0))).toEqual([])
    expect(growthOf('x', held(6, 1e9))).toEqual([])
    const [said] = growthOf('x', held(30, GROWTH.rssBytes / 10))
    expect(said).toContain('rssBytes grew by')
  })
})
