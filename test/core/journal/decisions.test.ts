import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { InputError } from '../../../src/core/errors.ts'
import { decodeDecisions, openDecisionLog, readDecisionLog } from '../../../src/core/journal/decisions.ts'
import type { LogProblem } from '../../../src/core/journal/decisions.ts'
import type { LogRecord, OutcomeRecord } from '../../../src/core/journal/types.ts'
import { encodeLine } from '../../../src/core/journal/line.ts'
import { HandTime, HEADER, inFolder, MemoryDisk } from './support.ts'

const RECORDS: readonly LogRecord[] = [
  { kind: 'arrival', atSeconds: 1, request: 1, promptTokens: 30, maxNewTokens: 20 },
  {
    kind: 'decision',
    atSeconds: 1.001,
    request: 1,
    reason: 'dispatch',
    source: 'policy',
    propensity: 1,
    observation: [0.5, -1, NaN],
    plan: { embed: 'edge' },
    fromToken: 0,
    rebuild: 'start',
    decideSeconds: 3e-4,
  },
  { kind: 'transfer', atSeconds: 1.5, direction: 'up', bytes: 40_000, seconds: 0.4 },
  { kind: 'heartbeat', atSeconds: 1.6, rttSeconds: 0.03 },
  { kind: 'load', atSeconds: 1.7, tenants: 2.5 },
  { kind: 'event', atSeconds: 2, name: 'link-down', request: null, detail: 'reset' },
  {
    kind: 'outcome',
    atSeconds: 3,
    request: 1,
    end: 'stop',
    detail: '',
    outputTokens: 12,
    queueSeconds: 0,
    ttftSeconds: 0.6,
    tpotSeconds: 0.1,
    endToEndSeconds: 2,
    upBytes: 50_000,
    downBytes: 300,
    edgeSeconds: null,
  },
]

const bytesOf = (records: readonly object[]) => Buffer.from(records.map(encodeLine).join(''))

function decode(bytes: Uint8Array) {
  const problems: LogProblem[] = []
  const records = [...decodeDecisions([bytes], 'x.jsonl', { onProblem: (problem) => problems.push(problem) })]
  return { records, problems }
}

describe('the decision log', () => {
  it('does not sync for a heartbeat alone more than once a minute, and at once for what weighs more', async () => {
    const time = new HandTime()
    const disk = new MemoryDisk()
    await inFolder(async (folder) => {
      const log = await openDecisionLog(folder, HEADER, { clock: time, timers: time, disk })
      const heartbeat: LogRecord = { kind: 'heartbeat', atSeconds: 1, rttSeconds: 0.03 }
      log.write(heartbeat)
      await time.pass(1)
      const { syncs } = disk
      for (let second = 0; second < 50; second++) {
        log.write(heartbeat)
        await time.pass(1)
      }
      expect(disk.syncs).toBe(syncs)
      for (let second = 0; second < 20; second++) await time.pass(1)
      expect(disk.syncs).toBe(syncs + 1)
      log.write(RECORDS[0])
      for (let second = 0; second < 3; second++) await time.pass(1)
      expect(disk.syncs).toBe(syncs + 2)
      await log.close()
    })
  })

  it('reads back what was written, over starts and files', () =>
    inFolder(async (folder) => {
      const time = new HandTime()
      const options = { clock: time, timers: time, maxBytes: 3000 }
      const later = { ...HEADER, startedAt: '2026-03-02T12:00:00.000Z' }
      for (const header of [HEADER, later]) {
        const log = await openDecisionLog(folder, header, options)
        await expect(openDecisionLog(folder, header, options)).rejects.toThrow(/no other process/)
        for (let i = 0; i < 10; i++) {
          for (const record of RECORDS) log.write(record)
          expect(await log.flush()).toBe(true)
        }
        expect(log.health).toEqual({ ok: true, dropped: 0, lastError: null })
        await log.close()
      }
      const problems: LogProblem[] = []
      const found = [...readDecisionLog(folder, { onProblem: (problem) => problems.push(problem) })]
      expect(problems).toEqual([])
      expect(found.filter(({ kind }) => kind !== 'header')).toEqual(Array(20).fill(RECORDS).flat())
      const starts = found.flatMap((record) => (record.kind === 'header' ? [record.startedAt] : []))
      expect(new Set(starts)).toEqual(new Set([HEADER.startedAt, later.startedAt]))
      // Each file is readable by itself.
      const one = join(folder, 'decisions.00002.jsonl')
      expect([...readDecisionLog(one)][0]).toEqual(HEADER)
    }))

  it('tells damaged lines with their place, and reads on', () => {
    const lines = [HEADER, ...RECORDS].map(encodeLine)
    const flipped = lines[3].replace('40000', '40001')
    const strange = encodeLine({ kind: 'heartbeat', atSeconds: 1, rttSeconds: -1 })
    const more = encodeLine({ kind: 'load', atSeconds: 1, tenants: 1, extra: 1 })
    const text = lines[0] + lines[1] + flipped + strange + more + '\n' + lines[2] + lines[4].slice(0, 20)
    const { records, problems } = decode(Buffer.from(text))
    expect(records).toEqual([HEADER, RECORDS[0], RECORDS[1]])
    expect(problems.map(({ line, what }) => [line, what])).toEqual([
      [3, 'crc'],
      [4, 'schema'],
      [5, 'schema'],
      [8, 'torn'],
    ])
    expect(problems[0].offset).toBe(lines[0].length + lines[1].length)
    expect(problems[1].detail).toContain('rttSeconds')
  })

  it('does not take times without a header, nor lines of any length', () => {
    const { records, problems } = decode(
      Buffer.concat([
        bytesOf(RECORDS.slice(0, 2)),
        Buffer.alloc(3_000_000, 0x78),
        Buffer.from('\n'),
        bytesOf([HEADER]),
      ]),
    )
    expect(records).toEqual([HEADER])
    expect(problems.map(({ what }) => what)).toEqual(['headless', 'headless', 'long'])
  })

  it('reads budgets and use, and the former version without them', () => {
    const budgets = { energyJoules: 12, accuracyLoss: null, cloudSeconds: 0.08 }
    const header: LogRecord = { ...HEADER, version: 2, budgets }
    const former = RECORDS.at(-1) as OutcomeRecord
    const use = { messages: 61, energyJoules: -0.5, accuracyLoss: 0.01, cloudSeconds: null }
    const { records, problems } = decode(bytesOf([header, { ...former, ...use }, HEADER, former]))
    expect(problems).toEqual([])
    expect(records).toEqual([header, { ...former, ...use }, HEADER, former])
    expect(records[3]).not.toHaveProperty('energyJoules')
    const wrong = decode(bytesOf([{ ...header, budgets: { energyJoules: 12 } }]))
    expect(wrong.problems).toMatchObject([{ what: 'schema' }])
  })

  it('refuses another version clearly, and what is no log', () =>
    inFolder(async (folder) => {
      const path = join(folder, 'decisions.00001.jsonl')
      writeFileSync(path, encodeLine({ ...HEADER, version: 3, novelty: true }))
      expect(() => [...readDecisionLog(folder)]).toThrow(/version 1 or 2[^]*version 3/)
      expect(() => [...readDecisionLog(join(folder, 'none'))]).toThrow(InputError)
      const empty = join(folder, 'empty')
      await inFolder((other) => expect(() => [...readDecisionLog(other)]).toThrow(/decisions\.00001\.jsonl/))
      expect(() => [...readDecisionLog(empty)]).toThrow(InputError)
      appendFileSync(path, 'x'.repeat(100))
      expect(() => [...readDecisionLog(path, { maxFileBytes: 50 })]).toThrow(/at most 50 bytes/)
      expect(readFileSync(path).length).toBeGreaterThan(100)
    }))

  it('takes any bytes, in any pieces, without anything but records, problems or InputError', () => {
    const good = bytesOf([HEADER, ...RECORDS, ...RECORDS])
    const edit = fc.record({
      at: fc.nat(good.length),
      remove: fc.nat(60),
      insert: fc.uint8Array({ maxLength: 60 }),
    })
    fc.assert(
      fc.property(fc.array(edit, { maxLength: 5 }), fc.integer({ min: 1, max: 500 }), (edits, piece) => {
        let bytes: Buffer = good
        for (const { at, remove, insert } of edits) {
          bytes = Buffer.concat([bytes.subarray(0, at), insert, bytes.subarray(at + remove)])
        }
        const whole = decode(bytes)
        const pieces: Uint8Array[] = []
        for (let i = 0; i < bytes.length; i += piece) pieces.push(bytes.subarray(i, i + piece))
        expect([...decodeDecisions(pieces, 'x.jsonl')]).toEqual(whole.records)
        const written = new Set([HEADER, ...RECORDS].map(encodeLine))
        for (const record of whole.records) expect(written).toContain(encodeLine(record))
        if (whole.records.length < 15) expect(whole.problems.length + edits.length).toBeGreaterThan(0)
      }),
      { numRuns: 300 },
    )
    // Lines whose checksum is right and whose content is anything.
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom(...RECORDS), fc.jsonValue()), { maxLength: 8 }),
        (pairs) => {
          const lines = pairs.map(([record, value]) =>
            encodeLine({ ...record, atSeconds: value, plan: value }),
          )
          const { records, problems } = decode(Buffer.from(encodeLine(HEADER) + lines.join('')))
          expect(records.length + problems.length).toBe(1 + pairs.length)
        },
      ),
    )
  })
})
