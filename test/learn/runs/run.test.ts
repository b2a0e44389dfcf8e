import { cpSync, existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Clock } from '../../../src/core/clock.ts'
import { openEngine } from '../../../src/core/engine/open.ts'
import { type Engine } from '../../../src/core/engine/types.ts'
import { loadScenario } from '../../../src/sim/scenario/scenario.ts'
import { LearnedPolicy } from '../../../src/policy/actor/learned.ts'
import { mean, runEpisode } from '../../../src/learn/evaluate/episode.ts'
import { readPolicy } from '../../../src/learn/runs/folder.ts'
import { openRunScenario, resumeRun, startRun, type RunContext } from '../../../src/learn/runs/run.ts'
import { inFolder, tinyScenario, writeConfig } from '../../sim/scenario/tiny.ts'

let engine: Engine
beforeAll(async () => void (engine = await openEngine('native')))
afterAll(() => engine.close())

const UPDATES = 6

const TRAINING = {
  schema: 'edgewise.training/1',
  scenario: 'scenario.yaml',
  environments: 3,
  ppo: {
    seed: 3,
    totalUpdates: UPDATES,
    stepsPerUpdate: 8,
    minibatch: 12,
    epochs: 2,
    learningRate: { from: 1e-3, to: 1e-4 },
    encoder: [16],
    criticHidden: [16],
    rowHidden: 8,
  },
  validation: { everyUpdates: 2, episodes: 2 },
  checkpointEveryUpdates: 2,
}

/** No two readings of any two runs agree: what depends on time would show. */
function restlessClock(): Clock {
  let seconds = ++clocks * 1000
  return {
    nowSeconds: () => (seconds += 0.37 + seconds / 1e5),
    wallTime: () => new Date(1e12 + 1000 * (seconds += 1.1)).toISOString(),
  }
}
let clocks = 0

function context(changes: Partial<RunContext> = {}): RunContext {
  return { engine, clock: restlessClock(), versions: { edgewise: 'test' }, ...changes }
}

/** Stops before the update that comes after `updates`. */
function stopAfter(updates: number): () => boolean {
  let asked = 0
  return () => asked++ === updates
}

function configs(folder: string): string {
  writeConfig(folder, 'scenario.yaml', tinyScenario())
  return writeConfig(folder, 'train.yaml', TRAINING)
}

const SAME = ['checkpoint.bin', 'best.policy', 'metrics.jsonl'] as const

function expectEqualRuns(one: string, other: string): void {
  for (const name of SAME) {
    expect(Buffer.compare(readFileSync(join(one, name)), readFileSync(join(other, name))), name).toBe(0)
  }
}

describe('a training', () => {
  it('repeats itself byte for byte, and another seed does not', async () => {
    await inFolder(async (folder) => {
      const config = configs(folder)
      const [one, two, three] = ['one', 'two', 'three'].map((name) => join(folder, name))
      const summary = await startRun(config, one, context())
      expect(summary).toMatchObject({ updates: UPDATES, decisions: UPDATES * 24, finished: true })
      const warnings: string[] = []
      await startRun(config, two, context({ onWarning: (text) => warnings.push(text) }))
      expect(warnings).toEqual([expect.stringContaining('cannot be calibrated here')])
      expectEqualRuns(one, two)
      await startRun(config, three, context(), { seed: 4 })
      expect(readFileSync(join(three, 'metrics.jsonl'), 'utf8')).not.toBe(
        readFileSync(join(one, 'metrics.jsonl'), 'utf8'),
      )
      const lines = readFileSync(join(one, 'metrics.jsonl'), 'utf8').trimEnd().split('\n')
      expect(lines.map((line) => (JSON.parse(line) as { step: number }).step)).toEqual([1, 2, 3, 4, 5, 6])
    })
  })

  it.each([1, 2, 3, 5])('stopped after %i updates and resumed equals one never stopped', async (updates) => {
    await inFolder(async (folder) => {
      const config = configs(folder)
      const [whole, parts] = [join(folder, 'whole'), join(folder, 'parts')]
      await startRun(config, whole, context())
      const stopped = await startRun(config, parts, context({ stopped: stopAfter(updates) }))
      expect(stopped).toMatchObject({ updates, finished: false })
      expect(await resumeRun(parts, context())).toMatchObject({ updates: UPDATES, finished: true })
      expectEqualRuns(whole, parts)
    })
  })

  it('killed between checkpoints goes on from the last one, and equals one never killed', async () => {
    await inFolder(async (folder) => {
      const config = configs(folder)
      const whole = join(folder, 'whole')
      const killed: string[] = []
      await startRun(
        config,
        whole,
        context({
          // What kill -9 would leave behind at this moment: logged past the last checkpoint.
          onUpdate: ({ update }) => {
            const copy = join(folder, `killed-${update}`)
            cpSync(whole, copy, { recursive: true })
            // As its holder is dead.
            const lock = readFileSync(join(copy, 'run.lock'), 'utf8')
            writeFileSync(join(copy, 'run.lock'), lock.replace(/"pid":\d+/, '"pid":4194305'))
            killed.push(copy)
          },
        }),
      )
      expect(killed).toHaveLength(UPDATES)
      for (const copy of killed.slice(0, UPDATES - 1)) {
        // A record cut short by the kill.
        writeFileSync(join(copy, 'metrics.jsonl'), '{"step":', { flag: 'a' })
        await resumeRun(copy, context())
        expectEqualRuns(whole, copy)
      }
      expect(existsSync(join(killed[0], 'checkpoint.bin'))).toBe(true)
    })
  })

  it('keeps the policy that was best on validation, and it costs again what was written', async () => {
    await inFolder(async (folder) => {
      const out = join(folder, 'run')
      const seen: (number | null)[] = []
      const summary = await startRun(
        configs(folder),
        out,
        context({ onUpdate: ({ validationCost }) => void seen.push(validationCost) }),
      )
      expect(seen.map((cost) => cost === null)).toEqual([true, false, true, false, true, false])
      const costs = seen.flatMap((cost) => cost ?? [])
      expect(summary.bestValidationCost).toBe(Math.min(...costs))
      const { numbers, about } = readPolicy(join(out, 'best.policy'))
      expect(about).toEqual({ update: summary.bestUpdate, validationCost: summary.bestValidationCost })
      const scenario = await openRunScenario(out)
      const policy = new LearnedPolicy(scenario.problem, numbers)
      const again = mean([0, 1].map((seed) => runEpisode(scenario, policy, 'validation', seed).cost))
      expect(again).toBe(summary.bestValidationCost)
    })
  })
})

describe('a run folder', () => {
  it('is not written into twice, and a failed start leaves nothing', async () => {
    await inFolder(async (folder) => {
      const config = configs(folder)
      const out = join(folder, 'run')
      await startRun(config, out, context({ stopped: () => true }))
      await expect(startRun(config, out, context())).rejects.toThrow(/new or empty folder/)
      const bad = writeConfig(folder, 'bad.yaml', { ...TRAINING, environments: 0 })
      await expect(startRun(bad, join(folder, 'other'), context())).rejects.toThrow(/environments/)
      const lost = writeConfig(folder, 'lost.yaml', { ...TRAINING, scenario: 'none.yaml' })
      await expect(startRun(lost, join(folder, 'other'), context())).rejects.toThrow(/none\.yaml/)
      expect(existsSync(join(folder, 'other'))).toBe(false)
    })
  })

  it('is trained by one process at a time', async () => {
    await inFolder(async (folder) => {
      const config = configs(folder)
      const out = join(folder, 'run')
      const seconds: Promise<void>[] = []
      const second = (): void => {
        seconds.push(expect(resumeRun(out, context())).rejects.toThrow(/give each training a folder of its own/))
      }
      await startRun(config, out, context({ onUpdate: second, stopped: stopAfter(1) }))
      expect(seconds).toHaveLength(1)
      await Promise.all(seconds)
      expect(await resumeRun(out, context({ stopped: () => true }))).toMatchObject({ updates: 1 })
      expect(existsSync(join(out, 'run.lock'))).toBe(false)
    })
  })

  it('with any damage to its checkpoint is refused', async () => {
    await inFolder(async (folder) => {
      const out = join(folder, 'run')
      await startRun(configs(folder), out, context({ stopped: stopAfter(1) }))
      const path = join(out, 'checkpoint.bin')
      const bytes = readFileSync(path)
      for (const at of [0, 20, bytes.length >> 1, bytes.length - 1]) {
        const damaged = Uint8Array.from(bytes)
        damaged[at] ^= 4
        writeFileSync(path, damaged)
        await expect(resumeRun(out, context())).rejects.toThrow(/checkpoint\.bin/)
      }
      writeFileSync(path, bytes.subarray(0, bytes.length - 9))
      await expect(resumeRun(out, context())).rejects.toThrow(/checkpoint\.bin/)
      writeFileSync(path, bytes)
      await expect(resumeRun(out, context({ stopped: () => true }))).resolves.toMatchObject({ updates: 1 })
    })
  })

  it('holds its scenario and both profiles, and refuses to go on with others', async () => {
    await inFolder(async (folder) => {
      const out = join(folder, 'run')
      await startRun(configs(folder), out, context({ stopped: stopAfter(1) }))
      const scenario = await loadScenario(join(folder, 'scenario.yaml'))
      expect((await openRunScenario(out)).hash).toBe(scenario.hash)
      // The run carries its own: the files it was started from may go.
      rmSync(join(folder, 'scenario.yaml'))
      expect((await openRunScenario(out)).hash).toBe(scenario.hash)
      expect(readdirSync(out)).toEqual(expect.arrayContaining(['run.json', 'edge.profile.json']))
      const run = readFileSync(join(out, 'run.json'), 'utf8')
      writeFileSync(join(out, 'run.json'), run.replace('"load": 0.6', '"load": 0.7'))
      await expect(resumeRun(out, context())).rejects.toThrow(/it was made with/)
      writeFileSync(join(out, 'run.json'), run.slice(0, -20))
      await expect(resumeRun(out, context())).rejects.toThrow(/run\.json/)
    })
  })
})
