import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { openAppend } from '../../../src/core/journal/appendFile.ts'
import { encodeLine } from '../../../src/core/journal/line.ts'
import { scan, HandTime, inFolder, MemoryDisk, settled, writeProgram } from './support.ts'

const records = (count: number, from = 0) =>
  Array.from({ length: count }, (_, i) => ({
    kind: 'token',
    n: from + i,
    text: 'ä\n"'.repeat((from + i) % 4),
  }))

function world(options: object = {}) {
  const time = new HandTime()
  const disk = new MemoryDisk()
  return { time, disk, options: { disk, clock: time, timers: time, ...options } }
}

/** CRC-32 by its definition, bit for bit (polynomial 0xEDB88320, reflected). */
function crcByDefinition(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1
  }
  return (crc ^ 0xffffffff) >>> 0
}

describe('a line', () => {
  it('is JSON whose last member is the CRC-32 of what stands before it', () => {
    expect(crcByDefinition(Buffer.from('123456789'))).toBe(0xcbf43926)
    fc.assert(
      fc.property(fc.dictionary(fc.string({ minLength: 1 }), fc.jsonValue(), { minKeys: 1 }), (record) => {
        fc.pre(!('crc' in record) && !('__proto__' in record))
        const line = encodeLine(record)
        const parsed = JSON.parse(line)
        const [, body] = /^(.*),"crc":"[0-9a-f]{8}"\}\n$/s.exec(line)!
        expect(parseInt(parsed.crc, 16)).toBe(crcByDefinition(Buffer.from(body)))
        expect(scan(line).values).toEqual([JSON.parse(JSON.stringify(record))])
      }),
    )
  })

  it('shows any changed bit', () => {
    const lines = records(12).map(encodeLine)
    const good = Buffer.from(lines.join(''))
    for (let bit = 0; bit < 8 * good.length; bit++) {
      const bytes = Buffer.from(good)
      bytes[bit >> 3] ^= 1 << (bit & 7)
      const { values, faults } = scan(bytes)
      expect(faults.length, `bit ${bit}`).toBeGreaterThan(0)
      // A line feed made or lost concerns two lines; nothing is ever read that was not written.
      expect(values.length).toBeGreaterThanOrEqual(10)
      for (const value of values) expect(lines).toContain(encodeLine(value as object))
    }
  })

  it.each([[[]], [{}], [undefined as never]])('holds an object with a member, not %j', (value) => {
    expect(() => encodeLine(value)).toThrow(TypeError)
  })
})

describe('a file that is opened again', () => {
  it('loses a torn last line and nothing else, wherever it was cut', async () => {
    const written = records(6)
    const whole = Buffer.from(written.map(encodeLine).join(''))
    for (let cut = 0; cut <= whole.length; cut++) {
      const { disk, options } = world({ syncSeconds: 0 })
      disk.put('log/a.jsonl', whole.subarray(0, cut))
      const file = await openAppend('log/a.jsonl', options)
      file.append({ kind: 'new' })
      await file.close()
      const complete = whole.subarray(0, cut).filter((byte) => byte === 10).length
      expect(scan(disk.text('log/a.jsonl'))).toEqual({
        values: [...written.slice(0, complete), { kind: 'new' }],
        faults: [],
      })
    }
  })

  it('loses zeros that a loss of power left', async () => {
    const { disk, options } = world()
    disk.put('log/a.jsonl', Buffer.concat([Buffer.from(encodeLine({ a: 1 })), Buffer.alloc(5000)]))
    await (await openAppend('log/a.jsonl', options)).close()
    expect(disk.text('log/a.jsonl')).toBe(encodeLine({ a: 1 }))
  })

  it.each(['PAR1....', 'name,value\n1,2\n', '{"a":1}\n' + 'x'.repeat(3_000_000)])(
    'is refused rather than cut into if it is none of ours',
    async (text) => {
      const { disk, options } = world()
      disk.put('log/a.jsonl', Buffer.from(text))
      await expect(openAppend('log/a.jsonl', options)).rejects.toThrow(/a log of edgewise/)
      expect(disk.text('log/a.jsonl')).toBe(text)
    },
  )
})

describe('writing', () => {
  it('keeps the order and syncs at most every syncSeconds', async () => {
    const { time, disk, options } = world({ syncSeconds: 1 })
    const file = await openAppend('log/a.jsonl', options)
    const written = records(500)
    for (const record of written) {
      file.append(record)
      await time.pass(0.02)
    }
    // Ten seconds: the first sync comes at once, then one a second.
    expect(disk.syncs).toBeGreaterThanOrEqual(9)
    expect(disk.syncs).toBeLessThanOrEqual(11)
    // Written long before it is synced.
    expect(disk.writes).toBeGreaterThan(80)
    expect(disk.writes).toBeLessThan(130)
    await file.close()
    expect(scan(disk.text('log/a.jsonl')).values).toEqual(written)
    expect(time.pending).toBe(0)
  })

  it('has on the disk whatever was flushed, also after a loss of power', async () => {
    const plan = fc.array(fc.oneof(fc.nat(20), fc.constant('flush' as const)), { maxLength: 30 })
    await fc.assert(
      fc.asyncProperty(plan, fc.integer({ min: 1, max: 40 }), async (steps, most) => {
        const { disk, options } = world({ syncSeconds: 5 })
        disk.most = most
        const file = await openAppend('log/a.jsonl', options)
        let count = 0
        for (const step of steps) {
          if (step === 'flush') {
            expect(await file.flush()).toBe(true)
            const durable = disk.files.get('log/a.jsonl')!.durable
            expect(scan(durable).values).toHaveLength(count)
          } else {
            for (const record of records(step, count)) file.append(record)
            count += step
          }
        }
        await file.close()
        expect(scan(disk.text('log/a.jsonl'))).toEqual({ values: records(count), faults: [] })
      }),
      { numRuns: 60 },
    )
  })

  it('goes on in a next file, keeps the last ones, and begins each with the head', async () => {
    const { disk, options } = world({
      syncSeconds: 0,
      maxBytes: 2000,
      keepFiles: 3,
      head: () => [{ head: true }],
    })
    const file = await openAppend('log/a.jsonl', options)
    for (const record of records(300)) {
      file.append(record)
      await file.flush()
    }
    await file.close()
    const names = [...disk.files.keys()].sort()
    expect(names).toHaveLength(3)
    const found = names.map((name) => scan(disk.text(name)))
    for (const { values, faults } of found) {
      expect(values[0]).toEqual({ head: true })
      expect(faults).toEqual([])
    }
    for (const name of names) expect(disk.files.get(name)!.bytes.length).toBeLessThanOrEqual(2000)
    const kept = found.flatMap(({ values }) => values.slice(1))
    expect(kept).toEqual(records(300).slice(-kept.length))
    expect(names.at(-1)).not.toBe('log/a.00001.jsonl')
  })
})

describe('a disk that fails', () => {
  it('at any byte: nothing is thrown, what is not in the file is counted, and it goes on when it can', async () => {
    const codes = fc.constantFrom('ENOSPC', 'EIO', 'EROFS', 'EACCES', 'EDQUOT')
    await fc.assert(
      fc.asyncProperty(fc.nat(3000), codes, fc.boolean(), async (room, code, rotates) => {
        const errors: Error[] = []
        const more = rotates ? { maxBytes: 900, keepFiles: 100 } : {}
        const { time, disk, options } = world({
          retrySeconds: 5,
          onError: (error: Error) => errors.push(error),
          ...more,
        })
        disk.room = room
        disk.code = code
        const file = await openAppend('log/a.jsonl', options)
        for (const record of records(60)) {
          file.append(record)
          await time.pass(0.2)
        }
        const failed = !file.health.ok
        if (failed) {
          expect(errors.map((error) => (error as NodeJS.ErrnoException).code)).toEqual([code])
          expect(file.health.lastError).toBe(code)
          expect(await file.flush()).toBe(false)
        } else expect(errors).toEqual([])
        disk.room = Infinity
        await time.pass(6)
        await time.pass(6)
        for (const record of records(5, 60)) file.append(record)
        expect(await file.flush()).toBe(true)
        expect(file.health.ok).toBe(true)
        await file.close()
        const found = [...disk.files.keys()].sort().map((name) => scan(disk.text(name)))
        const values = found.flatMap(({ values }) => values as { n: number }[])
        expect(found.flatMap(({ faults }) => faults)).toEqual([])
        expect(values.length + file.health.dropped).toBe(65)
        expect(values.map(({ n }) => n)).toEqual([...new Set(values.map(({ n }) => n))].sort((a, b) => a - b))
        expect(values.slice(-5)).toEqual(records(5, 60))
      }),
      { numRuns: 80 },
    )
  })

  it('from the beginning, or in the sync: told, counted as perhaps lost, tried again', async () => {
    const { time, disk, options } = world({ retrySeconds: 5 })
    disk.broken = 'EACCES'
    const file = await openAppend('log/a.jsonl', options)
    file.append({ n: 0 })
    expect(file.health).toEqual({ ok: false, dropped: 1, lastError: 'EACCES' })
    disk.broken = null
    await time.pass(5)
    disk.brokenSync = 'EIO'
    file.append({ n: 1 })
    expect(await file.flush()).toBe(false)
    expect(file.health).toEqual({ ok: false, dropped: 2, lastError: 'EIO' })
    disk.brokenSync = null
    await time.pass(5)
    file.append({ n: 2 })
    expect(await file.flush()).toBe(true)
    expect(file.health).toEqual({ ok: true, dropped: 2, lastError: 'EIO' })
    await file.close()
    expect(time.pending).toBe(0)
  })

  it('and records that are none: dropped, counted, never thrown', async () => {
    const { options, disk } = world({ maxLineBytes: 100 })
    const file = await openAppend('log/a.jsonl', options)
    const ring: Record<string, unknown> = {}
    ring.ring = ring
    file.append(ring)
    file.append({ text: 'ä'.repeat(60) })
    file.append({ text: 'a'.repeat(60) })
    await file.close()
    file.append({ late: true })
    await settled()
    expect(file.health.dropped).toBe(3)
    expect(scan(disk.text('log/a.jsonl')).values).toHaveLength(1)
  })

  it.skipIf(!existsSync('/dev/full'))('that is full, really', () =>
    inFolder(async (folder) => {
      const time = new HandTime()
      symlinkSync('/dev/full', join(folder, 'a.jsonl'))
      const errors: string[] = []
      const onError = (error: Error) => errors.push(String((error as NodeJS.ErrnoException).code))
      const options = { clock: time, timers: time, onError, retrySeconds: 1 }
      const file = await openAppend(join(folder, 'a.jsonl'), options)
      file.append({ n: 1 })
      expect(await file.flush()).toBe(false)
      expect(file.health).toEqual({ ok: false, dropped: 1, lastError: 'ENOSPC' })
      expect(errors).toEqual(['ENOSPC'])
      await file.close()
    }),
  )
})

const KILLED = `
import { openAppend } from './src/core/journal/appendFile.ts'
import { systemClock } from './src/core/clock.ts'
import { systemTimers } from './src/core/timers.ts'
const file = await openAppend(process.argv[2], { clock: systemClock, timers: systemTimers, syncSeconds: 0.01 })
for (let n = 0; ; n++) {
  file.append({ n, filler: 'x'.repeat(n % 300) })
  if (n % 50 === 49) {
    await file.flush()
    process.stdout.write(n + '\\n')
  }
}
`

describe('a process that is killed', () => {
  it('leaves every line that was flushed, in a file that can be read and continued', () =>
    inFolder(async (folder) => {
      const program = writeProgram(folder, KILLED)
      const path = join(folder, 'killed.jsonl')
      let known = 0
      for (const lines of [3, 10, 40]) {
        writeFileSync(path, '')
        const child = spawn(process.execPath, [program, path])
        let out = ''
        let error = ''
        child.stderr.on('data', (chunk) => (error += String(chunk)))
        child.stdout.on('data', (chunk) => {
          out += String(chunk)
          if (out.split('\n').length > lines) child.kill('SIGKILL')
        })
        const [, signal] = await once(child, 'close')
        expect(signal, error).toBe('SIGKILL')
        const flushed = Number(out.trimEnd().split('\n').at(-1))
        expect(flushed).toBeGreaterThanOrEqual(50 * lines - 1)
        const before = scan(readFileSync(path))
        expect(before.faults.filter((fault) => fault !== 'torn')).toEqual([])
        const numbers = before.values.map((value) => (value as { n: number }).n)
        expect(numbers).toEqual(numbers.map((_, i) => i))
        expect(numbers.length).toBeGreaterThan(flushed)
        const time = new HandTime()
        const file = await openAppend(path, { clock: time, timers: time })
        file.append({ again: true })
        await file.close()
        expect(scan(readFileSync(path))).toEqual({ values: [...before.values, { again: true }], faults: [] })
        known += numbers.length
      }
      expect(known).toBeGreaterThan(2500)
    }))
})
