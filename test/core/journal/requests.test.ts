import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { openRequestJournal } from '../../../src/core/journal/requests.ts'
import { systemDisk } from '../../../src/core/journal/disk.ts'
import type { Disk } from '../../../src/core/journal/disk.ts'
import type { JournalRequest } from '../../../src/core/journal/requests.ts'
import { failure, HandTime, inFolder, writeProgram } from './support.ts'

const ask = (key: string | null = 'a', changes: Partial<JournalRequest> = {}): JournalRequest => ({
  key,
  principal: 'anna',
  prompt: [1, 2, 3],
  maxNewTokens: 50,
  sampling: { temperature: 0, topK: 0, topP: 1, seed: 7 },
  fingerprint: 'f00d',
  ...changes,
})

const open = (folder: string, time = new HandTime(), options: object = {}) =>
  openRequestJournal(folder, { clock: time, timers: time, ...options })

describe('the request journal', () => {
  it('gives back, in another process, what a request had come to', () =>
    inFolder(async (folder) => {
      const one = await open(folder)
      const request = one.begin(ask())
      for (const [i, id] of [11, 12, 13].entries()) one.token(request, i, id)
      one.switched(request, { fromToken: 2, rebuild: 'ids' })
      one.token(request, 7, 99)
      expect(one.find('anna', 'a')).toMatchObject({ tokens: [11, 12, 13], finish: null })
      await one.close()
      const two = await open(folder)
      const found = two.find('anna', 'a')!
      expect(found).toMatchObject({
        ...ask(),
        request,
        tokens: [11, 12, 13],
        switches: [{ fromToken: 2, rebuild: 'ids' }],
        finish: null,
      })
      expect(two.unfinished().map(({ key }) => key)).toEqual(['a'])
      two.token(found.request, 3, 14)
      two.end(found.request, 'stop')
      expect(two.begin(ask('b'))).toBeGreaterThan(request)
      await two.close()
      const three = await open(folder)
      expect(three.find('anna', 'a')).toMatchObject({ tokens: [11, 12, 13, 14], finish: 'stop' })
      expect(three.find('bert', 'a')).toBeNull()
      expect(three.find('anna', 'c')).toBeNull()
      await three.close()
    }))

  it.each<[string, Partial<JournalRequest>, boolean]>([
    ['the same again', {}, true],
    ['the same, members in another order', { sampling: { seed: 7, topP: 1, topK: 0, temperature: 0 } }, true],
    ['another prompt', { prompt: [1, 2] }, false],
    ['another length', { maxNewTokens: 51 }, false],
    ['other sampling', { sampling: { temperature: 0, topK: 0, topP: 1, seed: 8 } }, false],
    ['other weights', { fingerprint: 'beef' }, false],
  ])('tells whether a key is asked for with %s', (_, changes, same) =>
    inFolder(async (folder) => {
      const journal = await open(folder)
      journal.begin(ask())
      await journal.close()
      const again = await open(folder)
      expect(again.find('anna', 'a')!.matches(ask('a', changes))).toBe(same)
      await again.close()
    }),
  )

  it('forgets finished requests after an hour, broken-off ones after a day, and the oldest of too many', () =>
    inFolder(async (folder) => {
      const time = new HandTime()
      const journal = await open(folder, time, { maxRequests: 5 })
      journal.end(journal.begin(ask('done')), 'stop')
      journal.begin(ask('broken'))
      await time.pass(3500)
      journal.begin(ask('young'))
      expect(journal.find('anna', 'done')).not.toBeNull()
      await journal.close()
      await time.pass(200)
      const later = await open(folder, time, { maxRequests: 5 })
      expect(later.find('anna', 'done')).toBeNull()
      expect(later.find('anna', 'broken')).not.toBeNull()
      await later.close()
      await time.pass(86_400 - 3600)
      const next = await open(folder, time, { maxRequests: 5 })
      expect(next.find('anna', 'broken')).toBeNull()
      expect(next.find('anna', 'young')).not.toBeNull()
      for (let i = 0; i < 20; i++) next.end(next.begin(ask(`many ${i}`)), 'length')
      expect(next.size).toBe(5)
      expect(next.find('anna', 'young')).not.toBeNull()
      await next.close()
    }))

  it('of two requests by one key knows the later', () =>
    inFolder(async (folder) => {
      const one = await open(folder)
      const first = one.begin(ask())
      one.token(first, 0, 1)
      one.end(first, 'error')
      one.token(one.begin(ask('a', { prompt: [9] })), 0, 2)
      await one.close()
      const two = await open(folder)
      expect(two.find('anna', 'a')).toMatchObject({ prompt: [9], tokens: [2], finish: null })
      expect(two.size).toBe(1)
      await two.close()
    }))

  it('takes requests while its files cannot be read, and reads them when it can', () =>
    inFolder(async (folder) => {
      const before = await open(folder)
      for (const key of ['a', 'b']) before.token(before.begin(ask(key)), 0, 1)
      await before.close()
      const time = new HandTime()
      let broken = true
      const disk: Disk = {
        ...systemDisk,
        list: (path) => (broken ? Promise.reject(failure('EIO')) : systemDisk.list(path)),
      }
      const journal = await open(folder, time, { disk, retrySeconds: 1 })
      expect(journal.health).toMatchObject({ ok: false, lastError: 'EIO' })
      const request = journal.begin(ask('b', { prompt: [7] }))
      journal.token(request, 0, 5)
      broken = false
      await time.pass(1)
      journal.token(request, 1, 6)
      while (!(await journal.flush())) await time.pass(1)
      expect(journal.find('anna', 'a')).toMatchObject({ tokens: [1] })
      await journal.close()
      const again = await open(folder)
      expect(again.find('anna', 'a')).toMatchObject({ tokens: [1] })
      expect(again.find('anna', 'b')).toMatchObject({ prompt: [7], tokens: [5, 6] })
      await again.close()
    }))

  it('does not grow over thousands of requests: its file goes on in a fresh one with what is kept', () =>
    inFolder(async (folder) => {
      const time = new HandTime()
      const journal = await open(folder, time, { maxBytes: 20_000, maxRequests: 10, syncSeconds: 0 })
      for (let i = 0; i < 1000; i++) {
        const request = journal.begin(ask(`key ${i}`))
        for (let t = 0; t < 5; t++) journal.token(request, t, t)
        if (i % 3 !== 0) journal.end(request, 'stop')
        if (i % 20 === 0) await journal.flush()
      }
      await journal.flush()
      const files = readdirSync(folder).filter((name) => name.endsWith('.jsonl'))
      expect(files).toHaveLength(1)
      expect(readFileSync(join(folder, files[0])).length).toBeLessThan(150_000)
      const before = journal.unfinished()
      await journal.close()
      const again = await open(folder, time, { maxRequests: 10 })
      expect(again.unfinished().map(({ key, tokens }) => [key, tokens])).toEqual(
        before.map(({ key, tokens }) => [key, tokens]),
      )
      await again.close()
    }))

  it('holds, at whatever byte the disk breaks and heals, a beginning of the tokens, and all that was flushed', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(6000), fc.integer({ min: 1, max: 40 }), (cut, heal) =>
        inFolder(async (folder) => {
          const time = new HandTime()
          let room = cut
          const disk: Disk = {
            ...systemDisk,
            open: async (path) => {
              const file = await systemDisk.open(path)
              return {
                ...file,
                write: (bytes, position) => {
                  const count = Math.min(room, bytes.length)
                  if (count === 0) return Promise.reject(failure('ENOSPC'))
                  room -= count
                  return file.write(bytes.subarray(0, count), position)
                },
              }
            },
          }
          const journal = await open(folder, time, { disk, maxBytes: 3000, syncSeconds: 0, retrySeconds: 1 })
          const request = journal.begin(ask())
          let flushed = 0
          for (let i = 0; i < 60; i++) {
            if (i === heal) room = Infinity
            journal.token(request, i, 100 + i)
            if (await journal.flush()) flushed = i + 1
            await time.pass(1)
          }
          // As a killed process leaves it: not closed, the lock not let go.
          const copy = join(folder, 'copy')
          mkdirSync(copy)
          for (const name of readdirSync(folder)) {
            if (name.endsWith('.jsonl')) copyFileSync(join(folder, name), join(copy, name))
          }
          await journal.close()
          const again = await open(copy)
          const tokens = again.find('anna', 'a')?.tokens ?? []
          expect(tokens).toEqual(tokens.map((_, i) => 100 + i))
          expect(tokens.length).toBeGreaterThanOrEqual(flushed)
          expect(flushed).toBe(60)
          await again.close()
        }),
      ),
      { numRuns: 25 },
    )
  })

  it('reads anything as some requests', () =>
    inFolder(async (folder) => {
      await (await open(folder)).close()
      const journal = await open(folder)
      const request = journal.begin(ask())
      for (let i = 0; i < 10; i++) journal.token(request, i, i)
      await journal.close()
      const [name] = readdirSync(folder).filter((file) => file.endsWith('.jsonl'))
      const good = readFileSync(join(folder, name))
      await fc.assert(
        fc.asyncProperty(fc.nat(good.length - 1), fc.uint8Array({ maxLength: 40 }), async (at, noise) => {
          const bytes = Buffer.concat([good.subarray(0, 2), good.subarray(2, at), noise, good.subarray(at)])
          for (const file of readdirSync(folder)) rmSync(join(folder, file))
          writeFileSync(join(folder, name), bytes)
          const broken = await open(folder)
          const tokens = broken.find('anna', 'a')?.tokens ?? []
          expect(tokens).toEqual(tokens.map((_, i) => i))
          await broken.close()
        }),
        { numRuns: 60 },
      )
    }))
})

const HOLDER = `
import { openRequestJournal } from './src/core/journal/requests.ts'
import { systemClock } from './src/core/clock.ts'
import { systemTimers } from './src/core/timers.ts'
const journal = await openRequestJournal(process.argv[2], { clock: systemClock, timers: systemTimers, syncSeconds: 0 })
const request = journal.begin({ key: 'a', principal: 'anna', prompt: [1, 2, 3], maxNewTokens: 50,
  sampling: { temperature: 0, topK: 0, topP: 1, seed: 7 }, fingerprint: 'f00d' })
for (let i = 0; ; i++) {
  journal.token(request, i, i % 1000)
  await journal.flush()
  process.stdout.write((i + 1) + '\\n')
}
`

describe('two processes on one journal', () => {
  it('are one too many while the first lives; after kill -9 all flushed tokens are there', () =>
    inFolder(async (folder) => {
      const program = writeProgram(folder, HOLDER)
      const place = join(folder, 'journal')
      const child = spawn(process.execPath, [program, place])
      let out = ''
      let error = ''
      child.stderr.on('data', (chunk) => (error += String(chunk)))
      child.stdout.on('data', (chunk) => (out += String(chunk)))
      while (out.split('\n').length < 30 && child.exitCode === null) await once(child.stdout, 'data')
      expect(error).toBe('')
      await expect(open(place)).rejects.toThrow(new RegExp(`process ${child.pid}`))
      child.kill('SIGKILL')
      await once(child, 'close')
      const flushed = Number(out.trimEnd().split('\n').at(-1))
      const journal = await open(place)
      const tokens = journal.find('anna', 'a')!.tokens
      expect(tokens.length).toBeGreaterThanOrEqual(flushed)
      expect(tokens).toEqual(tokens.map((_, i) => i % 1000))
      await journal.close()
      expect(existsSync(join(place, 'requests.lock'))).toBe(false)
    }))

  it('a lock of an unknown place is let go once its holder was silent for long', () =>
    inFolder(async (folder) => {
      const time = new HandTime()
      const lock = join(folder, 'requests.lock')
      const now = Date.parse(time.wallTime()) / 1000
      for (const text of ['{"pid":1,"started":"1","boot":"elsewhere","space":"pid:[1]"}', 'torn']) {
        writeFileSync(lock, text)
        utimesSync(lock, now - 10, now - 10)
        await expect(open(folder, time)).rejects.toThrow(/no other process/)
        utimesSync(lock, now - 40, now - 40)
        const journal = await open(folder, time)
        // Its own holder says that it lives.
        utimesSync(lock, now - 40, now - 40)
        await time.pass(6)
        await expect(open(folder, time)).rejects.toThrow(/no other process/)
        await journal.close()
      }
    }))

  it('leave the lock to the one that took it over', () =>
    inFolder(async (folder) => {
      const time = new HandTime()
      const lock = join(folder, 'requests.lock')
      const suspended = await open(folder, time)
      const successor = '{"pid":1,"started":"1","boot":"elsewhere","space":"pid:[1]"}'
      writeFileSync(lock, successor)
      utimesSync(lock, 7, 7)
      await time.pass(6)
      expect(statSync(lock).mtimeMs).toBe(7000)
      await suspended.close()
      expect(readFileSync(lock, 'utf8')).toBe(successor)
    }))

  it('a process that was frozen until another took its lock writes nothing any more, and says so', () =>
    inFolder(async (folder) => {
      const time = new HandTime()
      const lock = join(folder, 'requests.lock')
      const reported: string[] = []
      const frozen = await open(folder, time, { onError: ({ message }: Error) => reported.push(message) })
      frozen.begin(ask())
      expect(await frozen.flush()).toBe(true)
      writeFileSync(lock, '{"pid":1,"started":"1","boot":"elsewhere","space":"pid:[1]"}')
      const before = readdirSync(folder).map((name) => readFileSync(join(folder, name), 'utf8'))
      // Its timers did not run either: it goes on at the next line, long after.
      time.jump(100)
      frozen.begin(ask('b'))
      expect(await frozen.flush()).toBe(false)
      expect(reported).toHaveLength(1)
      expect(reported[0]).toMatch(/no other process writes to[^]*process 1 at work/)
      await time.pass(10)
      expect(frozen.health).toMatchObject({ ok: false, dropped: 1 })
      await frozen.close()
      expect(readdirSync(folder).map((name) => readFileSync(join(folder, name), 'utf8'))).toEqual(before)
    }))

  it('close where the disk does not let the lock go', () =>
    inFolder(async (folder) => {
      const journal = await open(folder)
      rmSync(join(folder, 'requests.lock'))
      mkdirSync(join(folder, 'requests.lock'))
      await expect(journal.close()).resolves.toBeUndefined()
    }))
})
