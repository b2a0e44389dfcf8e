import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { InputError } from '../../src/core/errors.ts'
import { crc32c, maskedCrc32c } from '../../src/learn/trackers/crc32c.ts'
import { openJsonl, readJsonl } from '../../src/learn/trackers/jsonl.ts'
import { scalarsRecord, versionRecord } from '../../src/learn/trackers/tensorboard.ts'
import { openRunTracker, teeTracker } from '../../src/learn/trackers/tracker.ts'

const scratch = mkdtempSync(join(tmpdir(), 'edgewise-report-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))
let folders = 0
const newFolder = (): string => join(scratch, `run-${folders++}`)
const clock = { nowSeconds: () => 0, wallTime: () => '2026-11-01T12:00:00.250Z' }

describe('the log', () => {
  it('keeps whole lines after a torn one, and says where a bad line is', () => {
    const path = join(newFolder(), 'metrics.jsonl')
    const log = openJsonl(path)
    log.append({ step: 1, cost: 2.5 })
    log.append({ step: 2, cost: Number.NaN })
    log.close()
    appendFileSync(path, '{"step":3,"co')
    expect(readJsonl(path)).toEqual([
      { step: 1, cost: 2.5 },
      { step: 2, cost: null },
    ])
    const again = openJsonl(path)
    again.append({ step: 3 })
    again.close()
    expect(readFileSync(path, 'utf8')).toBe('{"step":1,"cost":2.5}\n{"step":2,"cost":null}\n{"step":3}\n')
    writeFileSync(path, '{"step":1}\nnonsense\n')
    expect(() => readJsonl(path)).toThrow(InputError)
    expect(() => readJsonl(path)).toThrow(`${path}:2`)
  })

  it('cut anywhere and resumed gives the bytes of a log never cut', () => {
    const whole = [1, 2, 3, 4, 5].map((step) => ({ step, value: step / 3 }))
    const path = join(newFolder(), 'log.jsonl')
    const write = (from: number, keep?: (record: { [key: string]: unknown }) => boolean): void => {
      const log = openJsonl(path, keep)
      for (const record of whole.slice(from)) log.append(record)
      log.close()
    }
    write(0)
    const expected = readFileSync(path)
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: expected.length }),
        fc.integer({ min: 0, max: 5 }),
        (cut, checkpoint) => {
          // Nothing the checkpoint relies on is lost: it was synced before.
          const safe = whole
            .slice(0, checkpoint)
            .reduce((sum, record) => sum + JSON.stringify(record).length + 1, 0)
          writeFileSync(path, expected.subarray(0, Math.max(cut, safe)))
          write(checkpoint, (record) => (record.step as number) <= checkpoint)
          expect(readFileSync(path)).toEqual(expected)
        },
      ),
      { numRuns: 40 },
    )
  })
})

describe('the TensorBoard file', () => {
  it('has the checksums of RFC 3720 and of a file written by TensorFlow', () => {
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa)
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43)
    // Every tfevents file begins with these twelve bytes: length 24 and its masked checksum.
    expect(versionRecord(1).subarray(0, 12).toString('hex')).toBe('1800000000000000a37f4b22')
  })

  it('reads back by a decoder of its own', () => {
    const record = scalarsRecord(1700000000.5, 123456, { cost: 1.5, 'timing/steps': -2, broken: Number.NaN })
    const data = readRecord(record)
    const fields = readMessage(data)
    expect(fields.get(1)?.[0]).toBe(1700000000.5)
    expect(fields.get(2)?.[0]).toBe(123456)
    const values = (readMessage(fields.get(5)?.[0] as Buffer).get(1) as Buffer[]).map(readMessage)
    expect(values.map((value) => [String(value.get(1)?.[0]), value.get(2)?.[0]])).toEqual([
      ['cost', 1.5],
      ['timing/steps', -2],
    ])
  })
})

describe('the tracker', () => {
  it('keeps results apart from times, and equal runs give equal metrics', () => {
    const files = [1, 2].map((run) => {
      const folder = newFolder()
      const tracker = teeTracker([openRunTracker(folder, { clock })])
      tracker.metrics(10, { cost: 2, gap: null })
      tracker.timings(10, { stepsPerSecond: 1000 * run })
      tracker.sync()
      tracker.close()
      const [events] = readdirSync(join(folder, 'tensorboard'))
      expect(events).toMatch(/^events\.out\.tfevents\./)
      return {
        metrics: readFileSync(join(folder, 'metrics.jsonl'), 'utf8'),
        timings: readJsonl(join(folder, 'timings.jsonl')),
      }
    })
    expect(files[0].metrics).toBe('{"step":10,"cost":2,"gap":null}\n')
    expect(files[1].metrics).toBe(files[0].metrics)
    expect(files[1].timings).toEqual([{ step: 10, stepsPerSecond: 2000 }])
  })

  it('drops what came after the checkpoint it resumes from', () => {
    const folder = newFolder()
    const first = openRunTracker(folder, { clock })
    for (const step of [1, 2, 3]) first.metrics(step, { cost: step })
    first.close()
    const second = openRunTracker(folder, { clock, resumeAfterStep: 1 })
    second.metrics(2, { cost: 2 })
    second.close()
    expect(readJsonl(join(folder, 'metrics.jsonl')).map((record) => record.step)).toEqual([1, 2])
  })
})

/** TFRecord framing, checked as a reader does. */
function readRecord(record: Buffer): Buffer {
  const length = Number(record.readBigUInt64LE(0))
  expect(record.readUInt32LE(8)).toBe(maskedCrc32c(record.subarray(0, 8)))
  const data = record.subarray(12, 12 + length)
  expect(record.readUInt32LE(12 + length)).toBe(maskedCrc32c(data))
  expect(record.length).toBe(16 + length)
  return data
}

/** Protocol buffers wire format: field number to its values. */
function readMessage(data: Buffer): Map<number, (number | Buffer)[]> {
  const fields = new Map<number, (number | Buffer)[]>()
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = data[at++]
      value += (byte & 127) * 2 ** shift
      if (byte < 128) return value
    }
  }
  while (at < data.length) {
    const key = varint()
    const type = key & 7
    let value: number | Buffer
    if (type === 0) value = varint()
    else if (type === 1) value = data.readDoubleLE((at += 8) - 8)
    else if (type === 5) value = data.readFloatLE((at += 4) - 4)
    else {
      const length = varint()
      value = data.subarray(at, (at += length))
    }
    fields.set(key >> 3, [...(fields.get(key >> 3) ?? []), value])
  }
  return fields
}
