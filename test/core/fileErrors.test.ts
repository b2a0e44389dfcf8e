import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { InputError } from '../../src/core/errors.ts'
import { checkWritable, fileProblem, fillFolder, onPath } from '../../src/core/fileErrors.ts'
import { readText, writeAtomic } from '../../src/core/files.ts'

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
