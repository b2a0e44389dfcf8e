import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { EdgewiseError, InputError, IntegrityError } from '../../src/core/errors.ts'
import { decodeTrace, encodeTrace, readTrace, writeTrace } from '../../src/trace/file.ts'
import { gapFreeSpans, makeTrace, TRACE_COLUMNS } from '../../src/trace/table.ts'
import type { Trace, TraceMeta } from '../../src/trace/table.ts'

const meta: TraceMeta = {
  schemaVersion: 1,
  name: 'walk 1',
  origin: 'a test',
  licence: 'CC0',
  kind: 'recorded',
  rateKind: 'tcp-goodput',
  format: 'csv',
  sourceSha256: null,
  minBinSeconds: 0,
  notes: ['ä note'],
}
const cell = fc.oneof(fc.constant(NaN), fc.constant(0), fc.double({ min: 0, max: 1, noNaN: true }))
const row = fc.record({
  dt: fc.double({ min: 0.001, max: 10, noNaN: true }),
  cells: fc.tuple(cell, cell, cell, cell),
})
const trace = fc.array(row, { minLength: 1, maxLength: 50 }).map((rows): Trace => {
  const times = [-3]
  for (const { dt } of rows) times.push(times[times.length - 1] + dt)
  const scale = [1e7, 1e8, 0.1, 1]
  const columns = TRACE_COLUMNS.map((name, c) => [
    name,
    Float64Array.from(rows, (r) => r.cells[c] * scale[c]),
  ])
  return makeTrace({ meta, timeSeconds: Float64Array.from(times), ...Object.fromEntries(columns) }, 'test')
})
const sample = makeTrace(
  {
    meta,
    timeSeconds: Float64Array.from({ length: 200 }, (_, i) => i),
    uplinkBitsPerSecond: Float64Array.from({ length: 199 }, (_, i) => (i % 17 === 0 ? NaN : 1000 * i)),
  },
  'test',
)

/** Whatever the bytes: a trace, or an error that names the file; nothing else. */
async function survives(bytes: Uint8Array): Promise<'read' | 'refused'> {
  try {
    await decodeTrace(bytes, 'fuzz.parquet')
    return 'read'
  } catch (error) {
    expect(error).toBeInstanceOf(EdgewiseError)
    expect((error as Error).message).toContain('fuzz.parquet')
    return 'refused'
  }
}

describe('the trace file', () => {
  it('gives back what was written, gaps apart from zeros', async () => {
    await fc.assert(
      fc.asyncProperty(trace, async (written) => {
        expect(await decodeTrace(encodeTrace(written), 'memory')).toEqual(written)
      }),
      { numRuns: 60 },
    )
  })

  it('is written whole, and equal traces give equal bytes', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'edgewise-trace-'))
    try {
      const path = join(folder, 'a', 'walk.parquet')
      writeTrace(path, sample)
      expect(readdirSync(join(folder, 'a'))).toEqual(['walk.parquet'])
      expect(await readTrace(path)).toEqual(sample)
      expect(encodeTrace(sample)).toEqual(encodeTrace(sample))
      writeFileSync(path, 'PAR1')
      await expect(readTrace(path)).rejects.toThrow(InputError)
      await expect(readTrace(join(folder, 'none'))).rejects.toThrow(/none/)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it('refuses random bytes and every cut', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
        expect(await survives(bytes)).toBe('refused')
      }),
    )
    const whole = encodeTrace(sample)
    for (let length = 0; length < whole.length; length += 7) {
      expect(await survives(whole.subarray(0, length))).toBe('refused')
    }
  })

  it('refuses any flipped bit, wherever it is', async () => {
    const whole = encodeTrace(sample)
    const place = fc.record({ at: fc.nat(whole.length - 1), bit: fc.nat(7) })
    await fc.assert(
      fc.asyncProperty(place, async ({ at, bit }) => {
        const flipped = whole.slice()
        flipped[at] ^= 1 << bit
        expect(await survives(flipped)).toBe('refused')
      }),
      { numRuns: 400 },
    )
    whole[40] ^= 1
    await expect(decodeTrace(whole, 'x')).rejects.toThrow(IntegrityError)
  })

  it('finds the stretches without a gap', () => {
    fc.assert(
      fc.property(trace, (t) => {
        const columns = ['uplinkBitsPerSecond', 'rttSeconds'] as const
        const segments = gapFreeSpans(t, columns)
        const inside = new Set(
          segments.flatMap(({ first, end }) => Array.from({ length: end - first }, (_, i) => first + i)),
        )
        for (let i = 0; i < t.rttSeconds.length; i++) {
          const known = columns.every((name) => !Number.isNaN(t[name][i]))
          expect(inside.has(i)).toBe(known)
        }
        for (let i = 1; i < segments.length; i++)
          expect(segments[i].first).toBeGreaterThan(segments[i - 1].end)
      }),
    )
  })

  it('names the row and column of a bad figure', () => {
    const bad = { meta, timeSeconds: Float64Array.of(0, 1, 2), lossRatio: Float64Array.of(0, 1.5) }
    expect(() => makeTrace(bad, 'x.csv')).toThrow(/x\.csv: lossRatio of row 1/)
    expect(() => makeTrace({ meta, timeSeconds: Float64Array.of(0, 0) }, 'x.csv')).toThrow(/time of row 1/)
    expect(() =>
      makeTrace({ meta: { ...meta, schemaVersion: 2 as 1 }, timeSeconds: Float64Array.of(0, 1) }, 'x'),
    ).toThrow(/schemaVersion/)
  })
})
