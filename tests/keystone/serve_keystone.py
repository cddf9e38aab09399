"""A Keystone for tests: SQLite, one process, everything in one folder.

    serve_keystone.py prepare FOLDER       makes the database, the keys and two users
    serve_keystone.py serve FOLDER PORT    serves it on 127.0.0.1 until standard input ends

The administrator is admin/adminpw of project admin, the service user glance/"a password" of project
service, all in the domain Default. Everything else is made through the API by who tests. Run it with the
Python of an environment that has keystone and waitress.
"""
import os
import subprocess
import sys
import threading

CONFIG = """
[DEFAULT]
log_file = {folder}/keystone.log
[database]
connection = sqlite:///{folder}/keystone.db?timeout=30
[token]
provider = fernet
expiration = {expiration}
[fernet_tokens]
key_repository = {folder}/fernet
[fernet_receipts]
key_repository = {folder}/fernet
[credential]
key_repository = {folder}/credential
[identity]
# Cheap, and weak: for tests only.
password_hash_algorithm = bcrypt
password_hash_rounds = 4
[cache]
# Off, so that a revocation counts at once.
enabled = false
[oslo_policy]
policy_file = {folder}/policy.yaml
"""


def configured(folder):
    """The path of the configuration, written anew: a folder may have been copied."""
    path = os.path.join(folder, 'keystone.conf')
    with open(path, 'w') as out:
        out.write(CONFIG.format(folder=folder, expiration=os.environ.get('TOKEN_SECONDS', '3600')))
    with open(os.path.join(folder, 'policy.yaml'), 'w') as out:
        out.write('{}\n')
    return path


def prepare(folder):
    for name in ('fernet', 'credential'):
        os.makedirs(os.path.join(folder, name), mode=0o700)
    config = configured(folder)
    manage = os.path.join(os.path.dirname(sys.executable), 'keystone-manage')
    me = ['--keystone-user', str(os.getuid()), '--keystone-group', str(os.getgid())]
    for words in (['fernet_setup', *me], ['credential_setup', *me], ['db_sync'],
                  ['bootstrap', '--bootstrap-password', 'adminpw', '--bootstrap-region-id', 'RegionOne'],
                  ['bootstrap', '--bootstrap-password', 'a password', '--bootstrap-username', 'glance',
                   '--bootstrap-project-name', 'service', '--bootstrap-role-name', 'service']):
        subprocess.run([manage, '--config-file', config, *words], check=True)


def serve(folder, port):
    os.environ['OS_KEYSTONE_CONFIG_FILES'] = configured(folder)
    os.environ['OS_KEYSTONE_CONFIG_DIR'] = folder
    # Keystone reads the command line, too.
    sys.argv = ['keystone']
    import waitress
    from keystone.wsgi.api import application

    def end():
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=end, daemon=True).start()
    # One: of two that read and then write, SQLite answers one that it is locked, and that is a 500.
    waitress.serve(application, host='127.0.0.1', port=int(port), threads=1)


if __name__ == '__main__':
    task, *rest = sys.argv[1:]
    {'prepare': prepare, 'serve': serve}[task](*rest)
