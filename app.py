"""The page in the browser, from the command line and as a Hugging Face Space; see riff/app/.

python app.py
"""

from riff.app.command import main

if __name__ == "__main__":
    main()
