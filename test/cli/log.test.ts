import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { logJsonSchema } from '../../src/cli/json/log.ts'
import { runCli } from '../../src/cli/program.ts'
import { COMMANDS } from '../../src/cli/registry.ts'
import { encodeLine } from '../../src/core/journal/line.ts'
import { HEADER } from '../core/journal/support.ts'
import { inFolder, tinyScenario, writeConfig } from '../sim/scenario/tiny.ts'
import { servedDay, textOf } from '../trace/served.ts'
import { recordIo } from './io.ts'

async function edgewise(...argv: string[]) {
  const io = recordIo({ clock: systemClock })
  const code = await runCli(argv, io, COMMANDS, '0.0.0')
  return { code, out: io.out(), err: io.err() }
}

/** A log of some hours; returns its folder and what was put in. */
function writeDay(folder: string, seconds: number) {
  const day = servedDay(seconds, 3)
  const logs = join(folder, 'logs')
  mkdirSync(logs)
  const path = join(logs, 'decisions.00001.jsonl')
  writeFileSync(path, textOf(day.records))
  return { day, logs, path }
}

describe('edgewise log', () => {
  it('says what a log holds, as it was put in', () =>
    inFolder(async (folder) => {
      const { day, logs, path } = writeDay(folder, 7200)
      const count = (kind: string) => day.records.filter((record) => record.kind === kind).length
      const { code, out } = await edgewise('log', logs, '--replay', '--json')
      expect(code).toBe(0)
      const json = logJsonSchema.parse(JSON.parse(out))
      const arrived = count('arrival')
      expect(json.requests).toEqual({
        arrived,
        ended: { error: day.unanswered, stop: day.requests.length },
        withoutOutcome: 0,
      })
      expect(json.records.transfer).toBe(count('transfer'))
      expect(json.events['link-down']).toBe(json.events['link-up'])
      expect(json.decisions.bySource).toEqual({
        policy: arrived - Math.floor(arrived / 4),
        shield: Math.floor(arrived / 4),
      })
      expect(json.decisions.stayed).toBe(Math.ceil(arrived / 2))
      expect(json.decisions.plans).toEqual([
        { plan: { embed: 'edge' }, count: Math.floor(arrived / 2), share: 1 },
      ])
      expect(json.decisions.decideSeconds).toMatchObject({ count: arrived, p50: 3 * 1e-4, p99: 5e-4 })
      expect(json.endToEndSeconds!.count).toBe(day.requests.length)
      expect(json.replay).toEqual({
        observations: arrived,
        usable: arrived,
        otherVersion: 0,
        otherSize: 0,
        notFinite: 0,
      })
      expect(json.problems).toEqual({})

      const text = readFileSync(path, 'utf8').split('\n')
      const observed = text.findIndex((line) => line.includes('"observation":['))
      text[observed] = text[observed].replace('"source":"p', '"source":"q')
      const other = { ...HEADER, observationVersion: 1, startedAt: '2026-03-05T00:00:00.000Z' }
      const decision = day.records.find(({ kind }) => kind === 'decision')!
      writeFileSync(path, text.join('\n') + encodeLine(other) + encodeLine(decision) + '{"kind":"ev')
      const damaged = await edgewise('log', logs, '--replay')
      expect(damaged.code).toBe(1)
      expect(damaged.out).toContain('damaged lines: crc 1, torn 1')
      expect(damaged.out).toContain(`${path}:${observed + 1}: crc`)
      expect(damaged.out).toMatch(/observations: .* usable \(otherVersion 1,/)
    }))

  it('holds use against the budgets of the last start, and does not take what was not measured for 0', () =>
    inFolder(async (folder) => {
      const logs = join(folder, 'logs')
      mkdirSync(logs)
      const path = join(logs, 'decisions.00001.jsonl')
      const outcome = servedDay(600, 3).records.find(({ kind }) => kind === 'outcome')!
      const former = encodeLine(HEADER) + encodeLine(outcome)
      writeFileSync(path, former)
      const absent = await edgewise('log', logs)
      expect(absent.out).toContain('use against budgets: not measured (the log is of version 1)')
      expect(logJsonSchema.parse(JSON.parse((await edgewise('log', logs, '--json')).out)).use).toBeNull()

      const start = (day: number, energyJoules: number | null) =>
        encodeLine({
          ...HEADER,
          version: 2,
          startedAt: `2026-03-0${day}T00:00:00.000Z`,
          budgets: { energyJoules, accuracyLoss: null, cloudSeconds: 0.08 },
        })
      const used = (energyJoules: number | null, cloudSeconds: number | null) =>
        encodeLine({ ...outcome, messages: 20, energyJoules, accuracyLoss: 0.25, cloudSeconds })
      const before = start(2, 5) + used(99, 99)
      const same = start(3, 12) + used(10, 0.02) + start(4, 12) + used(8, 0.04) + used(null, null)
      writeFileSync(path, former + before + same + encodeLine(outcome))
      const { use } = logJsonSchema.parse(JSON.parse((await edgewise('log', logs, '--json')).out))
      expect(use).toEqual({
        sinceStartedAt: '2026-03-03T00:00:00.000Z',
        ended: 4,
        energyJoules: { used: 9, budget: 12, requests: 2 },
        accuracyLoss: { used: 0.25, budget: null, requests: 3 },
        cloudSeconds: { used: 0.03, budget: 0.08, requests: 2 },
      })
      const { out } = await edgewise('log', logs)
      const row = (name: string) => out.split('\n').find((line) => line.startsWith(name))
      expect(row('energy')).toMatch(/9\.00 J +12\.0 J +75\.0 % +2 of 4/)
      expect(row('accuracy loss')).toMatch(/0\.250 +none +3 of 4/)
      expect(row('cloud busy')).toMatch(/30\.0 ms +80\.0 ms +37\.5 % +2 of 4/)
      writeFileSync(path, start(5, null) + encodeLine(outcome))
      expect((await edgewise('log', logs)).out).toMatch(/energy +not measured +none +0 of 1/)
    }))

  it('says what is wrong with a path that is no log', () =>
    inFolder(async (folder) => {
      expect(await edgewise('log', folder)).toMatchObject({
        code: 2,
        err: expect.stringContaining('decisions.00001.jsonl'),
      })
    }))
})

describe('a served log', () => {
  it('becomes a link and a workload, on which a policy is trained', () =>
    inFolder(async (folder) => {
      const { day, logs } = writeDay(folder, 3600)
      const shared = ['--format', 'edgewise', '--origin', 'our edge', '--licence', 'own']
      const link = join(folder, 'served.parquet')
      const made = await edgewise('trace', 'import', logs, '--out', link, ...shared, '--json')
      expect(made.err + made.out).toContain('"format": "edgewise"')
      const csv = join(folder, 'served.csv')
      const workload = await edgewise(
        'trace',
        'import',
        logs,
        '--as',
        'workload',
        '--out',
        csv,
        ...shared,
        '--json',
      )
      expect(JSON.parse(workload.out)).toMatchObject({
        requests: day.requests.length,
        leftOut: day.unanswered,
      })
      expect(readFileSync(csv, 'utf8')).toMatch(/^# served logs: our edge; licence: own\n/)
      const shown = await edgewise('trace', 'show', link)
      expect(shown.out).toContain('what was observed depends on their size')

      const part = { recording: 'served.parquet' }
      const served = { uplink: part, downlink: part, rtt: part }
      const tiny = tinyScenario()
      writeConfig(folder, 'scenario.yaml', {
        ...tiny,
        links: { train: [served], validation: [served], test: [served] },
        workload: {
          ...tiny.workload,
          arrivals: { kind: 'azure', file: 'served.csv' },
          lengths: { azure: 'served.csv' },
        },
      })
      const training = {
        schema: 'edgewise.training/1',
        scenario: 'scenario.yaml',
        environments: 2,
        ppo: {
          seed: 3,
          totalUpdates: 2,
          stepsPerUpdate: 8,
          minibatch: 8,
          epochs: 1,
          learningRate: { from: 1e-3, to: 1e-4 },
          encoder: [16],
          criticHidden: [16],
          rowHidden: 8,
        },
        validation: { everyUpdates: 2, episodes: 1 },
        checkpointEveryUpdates: 2,
      }
      const run = join(folder, 'run')
      const config = writeConfig(folder, 'train.yaml', training)
      const trained = await edgewise('train', config, '--out', run, '--json')
      expect(trained.err).not.toContain('expected:')
      expect(JSON.parse(trained.out)).toMatchObject({ updates: 2, finished: true })
      expect(existsSync(join(run, 'best.policy'))).toBe(true)
    }))

  it('is read as a workload only if it is said to be one', () =>
    inFolder(async (folder) => {
      const csv = join(folder, 'x.csv')
      const told = ['--as', 'workload', '--origin', 'o', '--licence', 'l']
      expect((await edgewise('trace', 'import', folder, '--out', csv, ...told)).err).toContain(
        '--format edgewise',
      )
      const parquet = join(folder, 'x.parquet')
      const wrong = await edgewise(
        'trace',
        'import',
        folder,
        '--out',
        parquet,
        '--format',
        'edgewise',
        ...told,
      )
      expect(wrong).toMatchObject({ code: 2, err: expect.stringContaining('.csv') })
    }))
})
