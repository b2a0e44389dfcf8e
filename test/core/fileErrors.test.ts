import {
  closeSync,
  existsSync,
  mkdirSync,
  chmodSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { InputError, printable } from '../../src/core/errors.ts'
import { checkWritable, fileProblem, fillFolder, onPath } from '../../src/core/fileErrors.ts'
import { readSecretText, readText, temporaryName, writeAtomic } from '../../src/core/files.ts'

const root = mkdtempSync(join(tmpdir(), 'edgewise-file-errors-'))
const file = join(root, 'file')
writeFileSync(file, 'x')
afterAll(() => rmSync(root, { recursive: true, force: true }))

function problemOf(action: () => void): InputError['problem'] {
  try {
    action()
  } catch (error) {
    const problem = fileProblem(error) ?? error
    expect(problem).toBeInstanceOf(InputError)
    return (problem as InputError).problem
  }
  throw new Error('expected an error')
}

describe('errors of the file system', () => {
  test('name the path, the reason in words and the code', () => {
    expect(problemOf(() => mkdirSync(join(file, 'below')))).toEqual({
      where: join(file, 'below'),
      expected: "the system to allow 'mkdir'",
      found: 'a file where a folder should be (ENOTDIR)',
      remedy: 'check the path and its permissions, or name another one',
    })
    expect(problemOf(() => openSync(root, 'w')).found).toBe('a folder where a file should be (EISDIR)')
    expect(problemOf(() => readText(join(root, 'none'))).found).toBe('no such file or folder (ENOENT)')
    expect(problemOf(() => writeAtomic(join(file, 'a', 'b'), 'x')).where).toBe(join(file, 'a'))
  })

  test.skipIf(!existsSync('/dev/full'))(
    'name the path of a write, which the system does not (needs /dev/full)',
    () => {
      const full = openSync('/dev/full', 'w')
      const write = (): number => writeSync(full, 'x')
      expect(problemOf(() => onPath('a.bin', write))).toMatchObject({
        where: 'a.bin',
        found: 'no space left on the disk (ENOSPC)',
        remedy: 'make space, or name a folder on another disk',
      })
      closeSync(full)
    },
  )

  test('are not the errors of sockets and programs', async () => {
    const refused = await new Promise((resolve) => connect(join(root, 'no-socket')).on('error', resolve))
    expect(refused).toMatchObject({ code: 'ENOENT' })
    expect(fileProblem(refused)).toBeNull()
    expect(fileProblem(new Error('other'))).toBeNull()
  })
})

describe('a path that is to be written', () => {
  test('is checked before the work', () => {
    checkWritable(join(root, 'new', 'deep', 'file.json'))
    checkWritable(file)
    expect(problemOf(() => checkWritable(join(file, 'x')))).toMatchObject({ found: `${file} is a file` })
    expect(existsSync(join(root, 'new'))).toBe(false)
  })

  test('leaves no folder that blocks its name if filling it fails', () => {
    const fail = (folder: string) => () => {
      writeAtomic(join(folder, 'half'), 'x')
      throw new Error('stop')
    }
    const fresh = join(root, 'fresh')
    expect(() => fillFolder(fresh, 0o700, fail(fresh))).toThrow('stop')
    expect(existsSync(fresh)).toBe(false)
    const empty = join(root, 'empty')
    mkdirSync(empty)
    expect(() => fillFolder(empty, 0o700, fail(empty))).toThrow('stop')
    expect(readdirSync(empty)).toEqual([])
    const used = join(root, 'used')
    mkdirSync(used)
    writeFileSync(join(used, 'mine'), 'x')
    expect(() => fillFolder(used, 0o700, fail(used))).toThrow('stop')
    expect(readdirSync(used)).toEqual(['half', 'mine'])
  })
})

describe('what a killed process left', () => {
  test('is removed once it is an hour old, and nothing else', () => {
    const folder = join(root, 'left')
    mkdirSync(folder)
    const old = temporaryName(join(folder, 'a.json'))
    const oldFolder = temporaryName(join(folder, 'bundle'))
    const young = temporaryName(join(folder, 'b.json'))
    const own = join(folder, 'mine.tmp')
    mkdirSync(oldFolder)
    for (const path of [old, young, own, join(oldFolder, 'x')]) writeFileSync(path, 'x')
    const hourAgo = Date.now() / 1000 - 3700
    for (const path of [old, oldFolder, own]) utimesSync(path, hourAgo, hourAgo)
    writeAtomic(join(folder, 'c.json'), 'x')
    const kept = [young, own, join(folder, 'c.json')].map((path) => path.slice(folder.length + 1))
    expect(readdirSync(folder).sort()).toEqual(kept.sort())
  })

  test('does not keep a file from being written where it cannot be removed', () => {
    const folder = join(root, 'stuck')
    mkdirSync(folder)
    // A link to itself cannot be looked at, whoever asks; what another user left in /tmp cannot be removed.
    const stuck = temporaryName(join(folder, 'a.json'))
    symlinkSync(stuck, stuck)
    writeAtomic(join(folder, 'b.json'), 'x')
    expect(readText(join(folder, 'b.json'))).toBe('x')
  })
})

describe('a secret', () => {
  test.skipIf(process.platform === 'win32')('is not read from a file that others can read', () => {
    const path = join(root, 'token')
    writeFileSync(path, 'secret')
    for (const [mode, isRead] of [
      [0o644, false],
      [0o640, false],
      [0o604, false],
      [0o600, true],
      [0o400, true],
    ] as const) {
      chmodSync(path, mode)
      if (isRead) expect(readSecretText(path, 100, 'a token')).toBe('secret')
      else
        expect(() => readSecretText(path, 100, 'a token')).toThrow(
          /a token that only its owner can read.*0600/,
        )
    }
  })
})

describe('text of a peer', () => {
  test('begins no line of its own and steers no terminal', () => {
    const forged = 'edgewise/1\r\nconnection 7 opened\u001b[2J\u202etxt\u2028x\u0085y'
    expect(printable(forged)).toBe('edgewise/1??connection 7 opened?[2J?txt?x?y')
    expect(printable('Grüße, 日本')).toBe('Grüße, 日本')
  })
})
